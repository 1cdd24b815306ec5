// The load itself, by oha: one process for each kind of requests, at the same time.

import { spawn } from 'node:child_process';

/** Runs oha to its end; gives what it says as JSON. */
function oha(args) {
  return new Promise((resolve, reject) => {
    const child = spawn('oha', args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let [out, said] = ['', ''];
    child.stdout.on('data', (chunk) => (out += chunk));
    child.stderr.on('data', (chunk) => (said += chunk));
    child.on('error', reject);
    child.on('close', (code) => {
      if (code !== 0) return reject(new Error(`oha ended with ${code}: ${said}`));
      return resolve(JSON.parse(out));
    });
  });
}

const ms = (seconds) => (seconds === null || seconds === undefined ? null : seconds * 1000);

/** What one kind's requests came to. Latencies in milliseconds. */
function outcome(kind, said) {
  const percentiles = said.latencyPercentiles;
  const answers = said.statusCodeDistribution;
  const errors = { ...said.errorDistribution };
  let accepted = 0;
  for (const [status, count] of Object.entries(answers)) {
    if (status >= 200 && status < 300) accepted += count;
    else errors[`HTTP ${status}`] = count;
  }
  return {
    kind: kind.name,
    accepted,
    messages: accepted * kind.messages,
    seconds: said.summary.total,
    p50: ms(percentiles.p50),
    p95: ms(percentiles.p95),
    p99: ms(percentiles.p99),
    p999: ms(percentiles['p99.9']),
    slowest: ms(said.summary.slowest),
    errors,
  };
}

function fire(receiver, kind, connections, howLong) {
  const args = ['--no-tui', '--output-format', 'json', '-m', 'POST', '-t', '60s', '-T', kind.type];
  for (const header of kind.headers) args.push('-H', header);
  args.push('-Z', kind.file, '-c', String(connections), ...howLong, `http://${receiver}${kind.path}`);
  return oha(args).then((said) => outcome(kind, said));
}

/** Splits a whole number by the kinds' shares; nobody gets nothing. */
function split(whole, kinds) {
  const second = Math.max(1, Math.round(whole * kinds[1].share));
  return [whole - second, second];
}

/**
 * So many connections, each with its next request as soon as the last one is answered, for so many
 * seconds; requests under way at the end are waited for.
 */
export function closed(receiver, kinds, connections, seconds) {
  const parts = split(connections, kinds);
  return Promise.all(
    kinds.map((kind, index) => fire(receiver, kind, parts[index], ['-z', `${seconds}s`, '-w'])),
  );
}

/**
 * So many requests a second, whether or not earlier ones are answered. A request that had to wait
 * for a free connection is as late as it is seen from its time by the plan, so that a pause of the
 * program is not left out (no coordinated omission).
 */
export function constant(receiver, kinds, connections, rate, seconds) {
  const parts = split(connections, kinds);
  return Promise.all(
    kinds.map((kind, index) => {
      const share = rate * kind.share;
      const count = Math.max(1, Math.round(share * seconds));
      return fire(receiver, kind, parts[index], [
        '-n', String(count), '-q', String(share), '--latency-correction',
      ]);
    }),
  );
}
