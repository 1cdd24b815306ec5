import { describe, expect, it } from 'vitest';
import { bytes, hexDump, local, milliseconds, percent, relative, seconds, short, utc } from '../src/format';

describe('numbers', () => {
  it.each([
    [0, '0'], [999, '999'], [2.345, '2.3'], [999.6, '1k'], [1234, '1.2k'], [12_000, '12k'], [99_960, '100k'],
    [999_960, '1M'], [1_500_000, '1.5M'], [2e9, '2G'],
  ])('%d is short as %s', (value, text) => expect(short(value)).toBe(text));

  it.each([
    [0, '0 B'], [1023, '1023 B'], [1024, '1 KiB'], [1536, '1.5 KiB'], [1024 ** 2 - 1, '1 MiB'], [4 * 1024 ** 3, '4 GiB'],
  ])('%d bytes are %s', (value, text) => expect(bytes(value)).toBe(text));

  it.each([[0, '0 %'], [0.01, '< 0.1 %'], [14.757, '14.8 %'], [99.97, '> 99.9 %'], [100, '100 %']])(
    '%d percent are %s', (value, text) => expect(percent(value)).toBe(text),
  );
});

describe('spans', () => {
  it.each([
    [0, '0 ms'], [0.041, '0.04 ms'], [8.12, '8.1 ms'], [125.2, '125 ms'], [999.7, '1 s'], [30_040, '30 s'], [90_000, '1 min 30 s'],
  ])('%d milliseconds are %s', (value, text) => expect(milliseconds(value)).toBe(text));

  it.each([[59.96, '1 min'], [3600, '1 h'], [3605, '1 h'], [86_436, '1 d'], [90_061, '1 d 1 h']])(
    '%d seconds are %s', (value, text) => expect(seconds(value)).toBe(text),
  );
});

describe('times', () => {
  const now = Date.parse('2026-11-22T12:00:00Z');
  it.each([
    ['2026-11-22T11:59:58Z', 'just now'], ['2026-11-22T12:00:02Z', 'just now'], ['2026-11-22T11:59:30Z', '30 s ago'],
    ['2026-11-22T11:59:00.4Z', '1 min ago'], ['2026-11-22T09:00:00Z', '3 h ago'], ['2026-11-20T12:00:00Z', '2 d ago'],
    ['2026-11-29T12:00:00Z', 'in 7 d'], ['nonsense', ''],
  ])('%s is %s', (at, text) => expect(relative(at, now)).toBe(text));

  it('is shown in the viewer’s zone, with UTC beside it', () => {
    const at = new Date(2026, 10, 22, 9, 5, 7, 45);
    expect(local(at.toISOString(), 'millisecond')).toBe('2026-11-22 09:05:07.045');
    expect(utc('2026-11-22T20:43:46.183652Z')).toBe('2026-11-22 20:43:46.183652 UTC');
    expect(local('nonsense')).toBe('nonsense');
  });
});

it('dumps bytes sixteen a line, with what can be printed of them', () => {
  const lines = hexDump(`${'41'.repeat(16)}000a7e`).split('\n');
  expect(lines[0]).toBe(`000000  ${Array(16).fill('41').join(' ')}  AAAAAAAAAAAAAAAA`);
  expect(lines[1]).toBe(`000010  00 0a 7e${' '.repeat(39)}  ··~`);
});
