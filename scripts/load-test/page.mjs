// docs/load/README.md, from the results that are there.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';

import { rates } from './samples.mjs';
import { plot } from './plots.mjs';
import { growth } from './verdict.mjs';

const MODES = ['ramp', 'spike', 'soak'];

const ABOUT = {
  ramp: 'More and more connections, each with its next request as soon as the last one is answered.',
  spike: 'From 50 to 1000 connections at once, and back.',
  soak: 'Half of the measured maximum, at a constant rate; latencies count from the time by the plan.',
};

const whole = (value) => Math.round(value).toLocaleString('en-US');
const time = (value) => (value === null ? '' : `${value < 10 ? value.toFixed(1) : value.toFixed(0)} ms`);

const row = (cells) => `| ${cells.join(' | ')} |`;

/** The phases of a run as rows of a table. */
export function phaseRows(run) {
  return run.phases.flatMap(({ name, outcomes }) =>
    outcomes.map((one) =>
      row([
        name, one.kind,
        whole(one.accepted / one.seconds), whole(one.messages / one.seconds),
        time(one.p50), time(one.p95), time(one.p99), time(one.p999), time(one.slowest),
        whole(Object.values(one.errors).reduce((sum, count) => sum + count, 0)),
      ]),
    ),
  );
}

const HEADING = [
  row(['load', 'requests', 'requests/s', 'messages/s', 'p50', 'p95', 'p99', 'p99.9', 'slowest', 'errors']),
  row(['---', '---', '---:', '---:', '---:', '---:', '---:', '---:', '---:', '---:']),
];

function ledgerRows({ ledger, phases }) {
  const kinds = new Set(phases.flatMap(({ outcomes }) => outcomes.map(({ kind }) => kind)));
  return [
    row(['messages', 'received', 'stored', 'duplicate', 'rejected', 'in flight']),
    row(['---', '---:', '---:', '---:', '---:', '---:']),
    ...[...kinds].map((kind) => {
      const line = ledger.sources[kind];
      const counts = [line.received, line.stored, line.duplicate, line.rejected, line.in_flight];
      return row([kind, ...counts.map(whole)]);
    }),
  ];
}

function usage(run) {
  const { samples } = run;
  const peak = Math.max(...samples.map(({ rss }) => rss));
  const [first, last] = [samples[0], samples.at(-1)];
  const lines = [
    `Memory ${first.rss.toFixed(0)} MiB before, ${peak.toFixed(0)} at most, ${last.rss.toFixed(0)} after; ` +
      `open files ${run.fds.start} before, ${Math.max(...samples.map(({ fds }) => fds))} at most, ${run.fds.end} after; ` +
      `${(((last.cpu - first.cpu) / (last.stored - first.stored)) * 1e6).toFixed(1)} µs of CPU a message. ` +
      `PostgreSQL: ${whole(run.postgres.bytes)} bytes a message, indexes included, ${whole(run.postgres.wal)} bytes of ` +
      `WAL, ${run.postgres.cpu.toFixed(1)} µs of CPU.`,
  ];
  if (run.mode === 'soak') {
    const soaked = samples.filter(({ at }) => at >= run.soakFrom && at <= run.soakTo);
    const rss = growth(soaked, 'rss');
    lines.push(
      `The maximum was ${whole(run.maximum)} requests/s, half of it is ${whole(run.rate)}. Memory, medians after ` +
        `the warm-up: ${rss.first.toFixed(1)} MiB at first, ${rss.last.toFixed(1)} at last (${(rss.by * 100).toFixed(1)} %).`,
    );
  }
  return lines.join(' ');
}

/** The plots of a run, by the file's name. */
export function plots(run) {
  const marks = run.phases.filter(({ isMarked }) => isMarked).map(({ from, name }) => [from, name]);
  const of = (key) => run.samples.map((sample) => [sample.at, sample[key]]);
  const kinds = run.phases[0].outcomes.map(({ kind }) => kind);
  const latency = (kind, key) =>
    run.phases.flatMap(({ from, to, outcomes }) => {
      const value = outcomes.find((one) => one.kind === kind)?.[key];
      return value === null || value === undefined ? [] : [[from, value], [to, value]];
    });
  const series = kinds.flatMap((kind) => [
    { name: `${kind} p50`, points: latency(kind, 'p50') },
    { name: `${kind} p99`, points: latency(kind, 'p99') },
  ]);
  return {
    throughput: plot({
      title: 'Throughput',
      unit: 'messages/s',
      series: [
        { name: 'received', points: rates(run.samples, 'received') },
        { name: 'stored', points: rates(run.samples, 'stored') },
      ],
      marks,
    }),
    latency: plot({ title: 'Latency', unit: 'ms', series, marks }),
    rss: plot({ title: 'Memory', unit: 'MiB', series: [{ name: 'RSS', points: of('rss') }], marks }),
    fds: plot({ title: 'Open files', unit: 'count', series: [
        { name: 'all', points: of('fds') },
        { name: 'beside connections', points: of('otherFds') },
      ], marks }),
  };
}

function section(run) {
  const verdict = run.problems.length ? run.problems.map((problem) => `**${problem}**`).join('; ') : 'Nothing was wrong.';
  // Each minute of a soak is a row in soak.json; a page shows those that differ most.
  const shown = run.mode === 'soak' ? { ...run, phases: notable(run.phases) } : run;
  return [
    `## ${run.mode[0].toUpperCase()}${run.mode.slice(1)}`,
    '',
    ABOUT[run.mode],
    '',
    `\`scripts/load ${run.mode}\`, ${run.date}, ${run.minutes.toFixed(1)} minutes. ${verdict}`,
    '',
    ...HEADING,
    ...phaseRows(shown),
    '',
    ...ledgerRows(run),
    '',
    usage(run),
    '',
    ...Object.keys(plots(run)).map((name) => `![${run.mode}: ${name}](${run.mode}-${name}.svg)`),
    '',
  ];
}

/** The maximum, the first minute, the one with the worst p99, and the last one. */
function notable(phases) {
  const [maximum, ...minutes] = phases;
  const p99 = ({ outcomes }) => Math.max(...outcomes.map((one) => one.p99 ?? 0));
  const worst = minutes.reduce((one, other) => (p99(other) > p99(one) ? other : one), minutes[0]);
  return [...new Set([maximum, minutes[0], worst, minutes.at(-1)])].filter(Boolean);
}

/** Writes the page anew from all results in a directory. */
export function writePage(directory) {
  const file = (mode) => `${directory}/${mode}.json`;
  const runs = MODES.filter((mode) => existsSync(file(mode))).map((mode) => JSON.parse(readFileSync(file(mode), 'utf8')));
  const { machine, kinds } = runs[0];
  const lines = [
    '# Load tests',
    '',
    '<!-- Written by scripts/load. -->',
    '',
    `What \`scripts/load ramp\`, \`spike\` and \`soak\` measured on ${machine.cores} × ${machine.processor}, ` +
      `with ${machine.program} and ${machine.postgres}. Load generator (${machine.generator}), program and database ` +
      'share these processors: figures are what all of them reach together.',
    '',
    ...kinds.map(
      ({ name, share, messages, bytes }) =>
        `- ${Math.round(share * 100)} % of the connections or requests are \`${name}\`: ${messages} ` +
        `message${messages === 1 ? '' : 's'} each, ${whole(bytes)} bytes on average.`,
    ),
    `- Bodies are picked at random from ${whole(machine.bodies)} different ones of each kind. They carry no id, so none ` +
      'is taken for a retry; what ids cost in memory is measured by `scripts/bench memory`.',
    '',
    ...runs.flatMap(section),
  ];
  writeFileSync(`${directory}/README.md`, `${lines.join('\n').trimEnd()}\n`);
}
