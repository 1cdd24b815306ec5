import assert from 'node:assert/strict';
import test from 'node:test';

import { growth, problemsOf } from './verdict.mjs';

const outcome = (kind, messages, errors = {}) => ({ kind, messages, errors });
const line = (stored) => ({ received: stored, stored, duplicate: 0, rejected: 0, in_flight: 0 });

const well = () => ({
  mode: 'ramp',
  phases: [
    { outcomes: [outcome('logdrains', 50), outcome('errors', 10)] },
    { outcomes: [outcome('logdrains', 100), outcome('errors', 20)] },
  ],
  ledger: { balanced: true, sources: { logdrains: line(150), errors: line(30) } },
  rows: 180,
  fds: { start: 30, end: 31 },
  samples: [],
});

test('a run that went well has no problems', () => assert.deepEqual(problemsOf(well()), []));

test('errors are counted by what they are', () => {
  const run = well();
  run.phases[0].outcomes[0].errors = { 'HTTP 503': 2 };
  run.phases[1].outcomes[1].errors = { 'HTTP 503': 1, 'connection closed': 4 };
  assert.deepEqual(problemsOf(run), ['3 × HTTP 503', '4 × connection closed']);
});

test('what is lost, doubled or rejected is a problem', () => {
  for (const [key, by] of [['received', -1], ['stored', -1], ['duplicate', 1], ['rejected', 1], ['in_flight', 1]]) {
    const run = well();
    run.ledger.sources.errors[key] += by;
    assert.notDeepEqual(problemsOf(run), [], key);
  }
  assert.match(problemsOf({ ...well(), rows: 181 })[0], /180 stored by the ledger, 181/);
});

test('files that stay open are a problem', () => {
  assert.match(problemsOf({ ...well(), fds: { start: 30, end: 35 } })[0], /30 files .* 35/);
});

const soaked = (rssAt, fdsAt = () => 40) => ({
  ...well(),
  mode: 'soak',
  soakFrom: 0,
  soakTo: 100,
  samples: Array.from({ length: 101 }, (_, at) => ({ at, rss: rssAt(at), otherFds: fdsAt(at) })),
});

test('memory may grow by five percent after the warm-up', () => {
  assert.deepEqual(problemsOf(soaked((at) => 100 + at * 0.04)), []);
  assert.match(problemsOf(soaked((at) => 100 + at * 0.1))[0], /memory grew by 8/);
  assert.deepEqual(problemsOf(soaked((at) => (at < 5 ? 10 : 100))), [], 'the warm-up is left out');
  assert.match(problemsOf(soaked(() => 100, (at) => 40 + at))[0], /beside connections grew/);
});

test('latencies may differ, and not grow', () => {
  const minutes = (p99s) => p99s.map((p99) => ({ isMarked: false, outcomes: [{ ...outcome('logdrains', 0), p99 }] }));
  const run = (p99s) => {
    const one = soaked(() => 100);
    return { ...one, phases: [...one.phases, ...minutes(p99s)] };
  };
  assert.deepEqual(problemsOf(run([20, 24, 18, 90, 19, 25, 22, 20, 27])), [], 'one slow minute');
  assert.deepEqual(problemsOf(run([2, 2, 2, 5, 6, 5])), [], 'milliseconds');
  assert.match(problemsOf(run([20, 24, 18, 40, 50, 60, 70, 80, 90]))[0], /grew from 20 to 80 ms/);
});

test('single samples do not make growth', () => {
  const samples = Array.from({ length: 100 }, (_, at) => ({ at, rss: at === 99 ? 900 : 50 }));
  assert.equal(growth(samples, 'rss').by, 0);
});
