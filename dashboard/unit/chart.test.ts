import { expect, it } from 'vitest';
import { over, stacked } from '../src/chart';
import { bars, described } from '../src/sparkline';

it('draws a bar for each value that is not 0', () => {
  expect(bars([0, 10, 5], 30, 20)).toBe('M10 20v-20h9V20zM20 20v-10h9V20z');
  expect(bars([0, 0], 30, 20)).toBe('');
  expect(bars([], 30, 20)).toBe('');
});

it('keeps what is rare at a pixel', () => {
  expect(bars([1, 10_000], 20, 24)).toContain('M0 24v-1h9');
});

it('says what it shows', () => {
  expect(described([1, 4, 0], 'hour')).toBe('5 in 3 hours, at most 4 in one');
});

it('sums from each line down, so that bars look stacked', () => {
  expect(stacked([[1, 2], [10, 20], [100, 200]])).toEqual([[111, 222], [110, 220], [100, 200]]);
});

it('fills the steps in which nothing was counted', () => {
  const counts = [
    { at: '1970-01-01T02:10:00Z', name: 'b', count: 2 },
    { at: '1970-01-01T02:20:00Z', name: 'b', count: 1 },
    { at: '1970-01-01T00:00:00Z', name: 'a', count: 5 },
    { at: '1970-01-01T09:00:00Z', name: 'a', count: 7 },
  ];
  const { times, lines } = over(counts, 3600, 60, 3 * 3600 + 1);
  expect(times).toEqual([0, 3600, 7200, 10_800]);
  expect(lines.map((line) => [line.label, line.values])).toEqual([['a', [5, 0, 0, 0]], ['b', [0, 0, 3, 0]]]);
});
