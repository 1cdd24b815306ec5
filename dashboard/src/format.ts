/** Numbers, sizes and times as people read them. Pure: `now` is an argument. */

const NUMBER = new Intl.NumberFormat('en');

export function count(value: number): string {
  return NUMBER.format(value);
}

/** `1234` → `1.2k`: where there is little room. */
export function short(value: number): string {
  const size = Math.abs(value);
  if (size < 999.5) return Number.isInteger(value) ? String(value) : value.toFixed(size < 10 ? 1 : 0);
  const units: [number, string][] = [[1e9, 'G'], [1e6, 'M'], [1e3, 'k']];
  for (const [unit, letter] of units) {
    // What would be rounded to 1000 belongs to the next unit.
    if (size >= unit * 0.9995) {
      const scaled = value / unit;
      return `${Math.abs(scaled) < 99.95 ? trim(scaled.toFixed(1)) : scaled.toFixed(0)}${letter}`;
    }
  }
  return String(value);
}

const trim = (text: string) => text.replace(/\.0$/, '');

export function bytes(value: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (value >= 1023.5 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const text = unit === 0 || value >= 99.95 ? value.toFixed(0) : trim(value.toFixed(1));
  return `${text} ${units[unit] ?? ''}`;
}

export function milliseconds(value: number): string {
  if (value === 0) return '0 ms';
  if (value < 0.95) return `${value.toFixed(2)} ms`;
  if (value < 999.5) return `${value < 9.95 ? trim(value.toFixed(1)) : value.toFixed(0)} ms`;
  return seconds(value / 1000);
}

/** A span of time in its two largest units. */
export function seconds(value: number): string {
  if (value < 59.95) return `${trim(value.toFixed(value < 9.95 ? 1 : 0))} s`;
  const whole = Math.round(value);
  const parts: [number, string][] = [
    [Math.floor(whole / 86400), 'd'],
    [Math.floor(whole / 3600) % 24, 'h'],
    [Math.floor(whole / 60) % 60, 'min'],
    [whole % 60, 's'],
  ];
  const first = parts.findIndex(([amount]) => amount > 0);
  const shown = parts.slice(first, first + 2).filter(([amount]) => amount > 0);
  return shown.map(([amount, unit]) => `${amount} ${unit}`).join(' ');
}

/** A share in percent. */
export function percent(value: number): string {
  if (value > 0 && value < 0.1) return '< 0.1 %';
  if (value > 99.9 && value < 100) return '> 99.9 %';
  return `${value >= 99.95 || value === 0 ? value.toFixed(0) : value.toFixed(1)} %`;
}

/** How long ago, or until when. */
export function relative(at: string, now: number): string {
  const ago = (now - Date.parse(at)) / 1000;
  if (!Number.isFinite(ago)) return '';
  const size = Math.abs(ago);
  const text = spanOf(size);
  if (text === null) return ago > 0 || size < 5 ? 'just now' : 'now';
  return ago >= 0 ? `${text} ago` : `in ${text}`;
}

function spanOf(size: number): string | null {
  if (size < 5) return null;
  if (size < 59.5) return `${Math.round(size)} s`;
  if (size < 3570) return `${Math.round(size / 60)} min`;
  if (size < 86_000) return `${Math.round(size / 3600)} h`;
  return `${Math.round(size / 86_400)} d`;
}

const two = (value: number) => String(value).padStart(2, '0');

/** `2026-11-22 21:43:46.183` in the viewer's zone. */
export function local(at: string, precision: 'minute' | 'second' | 'millisecond' = 'second'): string {
  const time = new Date(at);
  if (Number.isNaN(time.getTime())) return at;
  const day = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  return `${day} ${clock(time, precision)}`;
}

export function clock(time: Date, precision: 'minute' | 'second' | 'millisecond' = 'second'): string {
  const minute = `${two(time.getHours())}:${two(time.getMinutes())}`;
  if (precision === 'minute') return minute;
  const second = `${minute}:${two(time.getSeconds())}`;
  return precision === 'second' ? second : `${second}.${String(time.getMilliseconds()).padStart(3, '0')}`;
}

/** For titles: the instant in UTC, as it was said. */
export function utc(at: string): string {
  const text = at.replace('T', ' ').replace(/Z$/, '');
  return `${text} UTC`;
}

/** JSON with indents; text that is no JSON stays. */
export function pretty(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value, null, 2) ?? '';
}

/** `de ad be ef` as rows of an address, sixteen bytes and their characters. */
export function hexDump(hex: string): string {
  const all = hex.replace(/\s+/g, '').match(/../g) ?? [];
  const lines: string[] = [];
  for (let at = 0; at < all.length; at += 16) {
    const row = all.slice(at, at + 16);
    const text = row.map((byte) => {
      const code = parseInt(byte, 16);
      return code >= 32 && code < 127 ? String.fromCharCode(code) : '·';
    });
    lines.push(`${at.toString(16).padStart(6, '0')}  ${row.join(' ').padEnd(47)}  ${text.join('')}`);
  }
  return lines.join('\n');
}
