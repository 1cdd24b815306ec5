// scripts/load: see there for what it does and which environment it reads.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { resolve } from 'node:path';

import { kinds as makeKinds } from './bodies.mjs';
import { costs } from './costs.mjs';
import { closed, constant } from './generator.mjs';
import { phaseRows, plots, writePage } from './page.mjs';
import { Samples } from './samples.mjs';
import { startFaultline, startPostgres } from './servers.mjs';
import { problemsOf } from './verdict.mjs';

const number = (name, fallback) => Number(process.env[name] || fallback);
const MODE = process.argv[2];
const STEP = number('LOAD_STEP', 30);
const MINUTES = number('LOAD_MINUTES', 30);
const BODIES = number('LOAD_BODIES', 20_000);
const FRAMES = number('LOAD_FRAMES', 5);
const OUT = resolve(process.env.LOAD_OUT || 'docs/load');
const PROGRAM = resolve(process.env.FAULTLINE);

const RAMP = [50, 200, 500];
const SPIKE = [50, 1000, 50];
/** Connections that find the maximum, and that a soak may use. */
const SOAK_CONNECTIONS = 200;
/** Of the maximum. */
const SOAK_SHARE = 0.5;
const WARM_UP = 5; // seconds
/** How long what was accepted may take to be stored. */
const SETTLE = 10 * 60_000; // milliseconds
/** A soak's figures are for a minute each. */
const WINDOW = 60; // seconds

const say = (text) => process.stdout.write(`${text}\n`);

class Run {
  phases = [];

  constructor(program, kinds, samples) {
    Object.assign(this, { program, kinds, samples });
  }

  /** Runs a piece of load, and shows what it came to. */
  async phase(name, load, isMarked = true) {
    const from = this.samples.now();
    const outcomes = await load(this.program.receiver, this.kinds);
    const phase = { name, from, to: this.samples.now(), outcomes, isMarked };
    this.phases.push(phase);
    phaseRows({ phases: [phase] }).forEach(say);
    return outcomes;
  }

  steps(connections, seconds) {
    return connections.reduce(
      (before, count, index) =>
        before.then(() =>
          this.phase(`${count} connections`, (receiver, kinds) =>
            closed(receiver, kinds, count, seconds[index % seconds.length]),
          ),
        ),
      Promise.resolve(),
    );
  }

  /** Finds the maximum, and holds half of it. */
  async soak() {
    const started = this.samples.now();
    const outcomes = await this.phase('maximum', (receiver, kinds) =>
      closed(receiver, kinds, SOAK_CONNECTIONS, STEP),
    );
    await this.program.settled(SETTLE);
    // What is accepted faster than it is stored could not go on: until it is stored counts.
    const took = this.samples.now() - started;
    this.maximum = outcomes.reduce((sum, { accepted }) => sum + accepted, 0) / took;
    this.rate = Math.max(1, Math.round(this.maximum * SOAK_SHARE));
    say(`maximum ${this.maximum.toFixed(0)} requests/s; ${this.rate} of them for ${MINUTES} minutes`);
    this.soakFrom = this.samples.now();
    const windows = Math.max(1, Math.round((MINUTES * 60) / WINDOW));
    const seconds = (MINUTES * 60) / windows;
    for (let index = 1; index <= windows; index += 1) {
      await this.phase(
        `minute ${index}`,
        (receiver, kinds) => constant(receiver, kinds, SOAK_CONNECTIONS, this.rate, seconds),
        false,
      );
    }
    this.soakTo = this.samples.now();
  }

  go() {
    if (MODE === 'ramp') return this.steps(RAMP, [STEP]);
    if (MODE === 'spike') return this.steps(SPIKE, [STEP / 2, STEP, STEP / 2]);
    return this.soak();
  }
}

function machine(program, postgres) {
  const processor = /^model name\s*: (.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1];
  return {
    cores: availableParallelism(),
    processor: processor ?? 'unknown',
    program: program.version,
    postgres: postgres.version,
    generator: execFileSync('oha', ['--version'], { encoding: 'utf8' }).trim(),
    bodies: BODIES,
  };
}

async function measure(directory, postgres, program) {
  const kinds = await makeKinds(directory, { bodies: BODIES, frames: FRAMES });
  // Connections to the store and the first segments are there before anything is compared.
  const warmUp = await closed(program.receiver, kinds, 10, WARM_UP);
  await program.settled(SETTLE);
  const [before, storedBefore] = [program.usage(), storage(postgres)];
  const samples = new Samples(program);
  const run = new Run(program, kinds, samples);
  say('| load | requests | requests/s | messages/s | p50 | p95 | p99 | p99.9 | slowest | errors |');
  await samples.start(MODE === 'soak' ? 5 : 1);
  await run.go();
  const ledger = await program.settled(SETTLE);
  await samples.stop();
  const stored = storage(postgres);
  const perMessage = (key) => (stored[key] - storedBefore[key]) / (stored.rows - storedBefore.rows);
  return {
    mode: MODE,
    date: new Date().toISOString().slice(0, 10),
    minutes: samples.all.at(-1).at / 60,
    machine: machine(program, postgres),
    kinds: kinds.map(({ name, share, messages, bytes: size }) => ({ name, share, messages, bytes: size })),
    maximum: run.maximum,
    rate: run.rate,
    soakFrom: run.soakFrom,
    soakTo: run.soakTo,
    phases: run.phases,
    warmUp: { outcomes: warmUp },
    fds: { start: before.fds, end: program.usage().fds },
    rows: stored.rows,
    postgres: { bytes: perMessage('bytes'), wal: perMessage('wal'), cpu: perMessage('cpu') * 1e6 },
    ledger,
    samples: samples.all,
  };
}

/** What PostgreSQL holds, has written and has worked until now. */
function storage(postgres) {
  return {
    // Several messages may be one event, as the lines of a stack trace are.
    rows: postgres.number('SELECT coalesce(sum(messages), 0) FROM events'),
    bytes: postgres.number('SELECT pg_database_size(current_database())'),
    wal: postgres.number("SELECT pg_current_wal_lsn() - '0/0'"),
    cpu: postgres.cpu(),
  };
}

function write(run) {
  mkdirSync(OUT, { recursive: true });
  writeFileSync(`${OUT}/${MODE}.json`, `${JSON.stringify(run)}\n`);
  const keys = Object.keys(run.samples[0]);
  const lines = [keys, ...run.samples.map((sample) => keys.map((key) => +sample[key].toFixed(3)))];
  writeFileSync(`${OUT}/${MODE}.csv`, `${lines.map((line) => line.join(',')).join('\n')}\n`);
  for (const [name, svg] of Object.entries(plots(run))) writeFileSync(`${OUT}/${MODE}-${name}.svg`, svg);
  writePage(OUT);
}

async function showCosts(directory, postgres, program) {
  const kinds = await makeKinds(directory, { bodies: BODIES, frames: FRAMES });
  const found = await costs(PROGRAM, directory, kinds, program, () => storage(postgres));
  say(`a message, ${found.messagesPerRequest.toFixed(1)} in a request`);
  for (const [what, bytes] of [
    ['body', found.body],
    ['spool', found.spool],
    ['Redis, zstd', found.redisZstd],
    ['Redis, none', found.redisNone],
    ['PostgreSQL', found.postgres],
    ['its WAL', found.postgresWal],
  ]) {
    say(`  ${what.padEnd(12)} ${bytes.toFixed(0).padStart(4)} bytes`);
  }
}

async function main() {
  const directory = mkdtempSync(`${tmpdir()}/faultline-load-`);
  // PostgreSQL's own user must reach its directory in there.
  execFileSync('chmod', ['755', directory]);
  let postgres;
  let program;
  try {
    postgres = await startPostgres(directory);
    program = await startFaultline(PROGRAM, directory, { FAULTLINE_STORE__URL: postgres.url });
    if (MODE === 'costs') {
      await showCosts(directory, postgres, program);
      return;
    }
    const run = await measure(directory, postgres, program);
    run.problems = problemsOf({ ...run, phases: [run.warmUp, ...run.phases] });
    write(run);
    say(`ledger ${JSON.stringify(run.ledger.sources)}`);
    const rss = run.samples.map((sample) => sample.rss);
    say(`memory ${rss[0].toFixed(1)} MiB before, ${Math.max(...rss).toFixed(1)} at most, ${rss.at(-1).toFixed(1)} after`);
    say(`open files ${run.fds.start} before, ${run.fds.end} after`);
    const { bytes, wal, cpu } = run.postgres;
    say(`PostgreSQL, a message: ${bytes.toFixed(0)} bytes, ${wal.toFixed(0)} bytes of WAL, ${cpu.toFixed(1)} µs of CPU`);
    for (const problem of run.problems) say(`WRONG: ${problem}`);
    say(run.problems.length ? 'verdict: not well' : 'verdict: well');
    process.exitCode = run.problems.length ? 1 : 0;
  } finally {
    await program?.stop().catch((error) => {
      say(`WRONG: ${error.message}`);
      process.exitCode = 1;
    });
    await postgres?.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

await main();
