// Whether a run went well. Nothing but arithmetic, so that it can be tried without a run.

import { median } from './samples.mjs';

/** Growth of memory that counts as growth. */
const RSS_GROWTH = 0.05;
/** Growth of the slowest percent's latency that counts as growth, in each of two ways. */
const P99_GROWTH = 0.5;
const P99_MORE = 10; // milliseconds
/** Files that may be open at the end beyond those at the beginning: the store's connections. */
const MORE_FDS = 4;
/** Of a soak's samples: those left out while caches fill, and those compared at each end. */
const WARM_UP = 0.1;
const END = 0.1;

/** Errors of all phases, by what they are. */
export function errorsOf(phases) {
  const sum = {};
  for (const { outcomes } of phases) {
    for (const { errors } of outcomes) {
      for (const [error, count] of Object.entries(errors)) sum[error] = (sum[error] ?? 0) + count;
    }
  }
  return sum;
}

/** Messages that clients were told are accepted, by kind. */
export function acceptedOf(phases) {
  const sum = {};
  for (const { outcomes } of phases) {
    for (const { kind, messages } of outcomes) sum[kind] = (sum[kind] ?? 0) + messages;
  }
  return sum;
}

/** How something grew in a soak: medians of the first and the last samples after the warm-up. */
export function growth(samples, key) {
  const warm = samples.slice(Math.floor(samples.length * WARM_UP));
  const count = Math.max(1, Math.floor(warm.length * END));
  const first = median(warm.slice(0, count).map((sample) => sample[key]));
  const last = median(warm.slice(-count).map((sample) => sample[key]));
  return { first, last, by: last / first - 1 };
}

/** How the 99th percentile of a soak's minutes grew: medians of the first and the last third of them. */
export function p99Growth(phases) {
  const minutes = phases.filter(({ isMarked }) => isMarked === false);
  const p99s = minutes.map(({ outcomes }) => Math.max(...outcomes.map(({ p99 }) => p99 ?? 0)));
  const third = Math.max(1, Math.floor(p99s.length / 3));
  return { first: median(p99s.slice(0, third)), last: median(p99s.slice(-third)) };
}

function soakProblems({ phases, samples, soakFrom, soakTo }) {
  const problems = [];
  const soaked = samples.filter((sample) => sample.at >= soakFrom && sample.at <= soakTo);
  const rss = growth(soaked, 'rss');
  if (rss.by > RSS_GROWTH) {
    const percent = (rss.by * 100).toFixed(1);
    problems.push(`memory grew by ${percent} %, from ${rss.first.toFixed(1)} to ${rss.last.toFixed(1)} MiB`);
  }
  const fds = growth(soaked, 'otherFds');
  if (fds.last > fds.first + MORE_FDS) {
    problems.push(`files open beside connections grew from ${fds.first} to ${fds.last}`);
  }
  const p99 = p99Growth(phases);
  if (p99.last > p99.first * (1 + P99_GROWTH) && p99.last > p99.first + P99_MORE) {
    problems.push(`the 99th percentile grew from ${p99.first.toFixed(0)} to ${p99.last.toFixed(0)} ms`);
  }
  return problems;
}

function ledgerProblems({ phases, ledger, rows }) {
  const problems = [];
  const accepted = acceptedOf(phases);
  const hasErrors = Object.keys(errorsOf(phases)).length > 0;
  if (!ledger.balanced) problems.push('the ledger does not balance');
  for (const [kind, messages] of Object.entries(accepted)) {
    const line = ledger.sources[kind];
    const { received, stored, duplicate, rejected, in_flight: inFlight } = line;
    // A request that failed for its client may have been accepted all the same.
    const isRight = hasErrors ? received >= messages : received === messages;
    if (!isRight) problems.push(`${kind}: ${messages} accepted, ${received} received`);
    if (received !== stored || duplicate || rejected || inFlight) {
      problems.push(`${kind}: not each is stored once: ${JSON.stringify(line)}`);
    }
  }
  const stored = Object.values(ledger.sources).reduce((sum, line) => sum + line.stored, 0);
  if (stored !== rows) problems.push(`${stored} stored by the ledger, ${rows} in PostgreSQL`);
  return problems;
}

/** All that was wrong with a run; empty when it went well. */
export function problemsOf(run) {
  const problems = Object.entries(errorsOf(run.phases)).map(([error, count]) => `${count} × ${error}`);
  problems.push(...ledgerProblems(run));
  if (run.fds.end > run.fds.start + MORE_FDS) {
    problems.push(`${run.fds.start} files were open before the load, ${run.fds.end} after it`);
  }
  if (run.mode === 'soak') problems.push(...soakProblems(run));
  return problems;
}
