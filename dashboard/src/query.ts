/** Filters in the URL: what is as usual is not written down. Pure. */

/** The filters of a page with their usual values. */
export type Filters = Record<string, string>;
type Raw = Record<string, string | null | (string | null)[] | undefined>;

/** What the URL says, completed by the usual values; unknown keys are left out. */
export function decode<F extends Filters>(usual: F, raw: Raw): F {
  const filters: Filters = { ...usual };
  for (const key of Object.keys(usual)) {
    const value = raw[key];
    const first = Array.isArray(value) ? value[0] : value;
    if (typeof first === 'string') filters[key] = first;
  }
  return filters as F;
}

/** The other way. An empty value is written where it is not usual, so that it can be said. */
export function encode<F extends Filters>(usual: F, filters: F): Record<string, string> {
  const query: Record<string, string> = {};
  for (const [key, value] of Object.entries(filters)) {
    if (value !== usual[key]) query[key] = value;
  }
  return query;
}

const UNITS: Record<string, number> = { s: 1e3, m: 6e4, h: 36e5, d: 864e5 };

/** `24h` before `now`, or the instant that is given; `null` where it is neither. */
export function instant(text: string, now: number): string | null {
  const span = /^(\d+)([smhd])$/.exec(text);
  if (span) {
    const [, amount = '', unit = ''] = span;
    return new Date(now - Number(amount) * (UNITS[unit] ?? 0)).toISOString();
  }
  const at = Date.parse(text);
  return text && !Number.isNaN(at) ? new Date(at).toISOString() : null;
}

/** An instant as `<input type="datetime-local">` wants it, in the viewer's zone. */
export function toInput(at: string): string {
  const time = new Date(at);
  if (Number.isNaN(time.getTime())) return '';
  return new Date(time.getTime() - time.getTimezoneOffset() * 6e4).toISOString().slice(0, 16);
}

/** The other way. */
export function fromInput(text: string): string {
  const time = new Date(text);
  return Number.isNaN(time.getTime()) ? '' : time.toISOString();
}
