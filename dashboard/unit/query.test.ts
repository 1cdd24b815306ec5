import { expect, it } from 'vitest';
import { decode, encode, fromInput, instant, toInput } from '../src/query';

const USUAL = { state: 'open', text: '', severity: '' };

it('writes down only what is not as usual, and reads it back', () => {
  const filters = { state: '', text: 'a&b=ü', severity: 'error' };
  const query = encode(USUAL, filters);
  expect(query).toEqual({ state: '', text: 'a&b=ü', severity: 'error' });
  expect(encode(USUAL, USUAL)).toEqual({});
  expect(decode(USUAL, query)).toEqual(filters);
});

it('takes the first of several, and leaves out what it does not know', () => {
  expect(decode(USUAL, { state: ['muted', 'open'], other: 'x', text: null })).toEqual({ ...USUAL, state: 'muted' });
});

it('reads spans and instants', () => {
  const now = Date.parse('2026-11-22T12:00:00Z');
  expect(instant('24h', now)).toBe('2026-11-21T12:00:00.000Z');
  expect(instant('15m', now)).toBe('2026-11-22T11:45:00.000Z');
  expect(instant('2026-11-22T10:00:00+01:00', now)).toBe('2026-11-22T09:00:00.000Z');
  expect(instant('', now)).toBeNull();
  expect(instant('soon', now)).toBeNull();
});

it('goes through an input of local time and back', () => {
  expect(fromInput(toInput('2026-11-22T10:30:00.000Z'))).toBe('2026-11-22T10:30:00.000Z');
  expect(toInput('nonsense')).toBe('');
});
