/** Data for charts. Pure. */

export interface Line {
  label: string;
  /** Of `--series-1` … `--series-6`. */
  colour: number;
  values: number[];
}

/** Sums from each line to the last, so that bars drawn one over another look stacked. */
export function stacked(lines: number[][]): number[][] {
  const sums = lines.map((line) => [...line]);
  for (let index = sums.length - 2; index >= 0; index -= 1) {
    const below = sums[index + 1] ?? [];
    sums[index] = (sums[index] ?? []).map((value, at) => value + (below[at] ?? 0));
  }
  return sums;
}

/** Counts per step and name as lines over all steps between the first and the last. */
export function over(
  counts: { at: string; name: string; count: number }[],
  step: number,
  from: number,
  until: number,
): { times: number[]; lines: Line[] } {
  const first = Math.floor(from / step);
  const size = Math.max(0, Math.floor(until / step) - first + 1);
  const times = Array.from({ length: size }, (_, index) => (first + index) * step);
  const names = [...new Set(counts.map((one) => one.name))].sort();
  const lines = names.map((label, index) => ({ label, colour: (index % 6) + 1, values: new Array<number>(size).fill(0) }));
  for (const { at, name, count } of counts) {
    const place = Math.floor(Date.parse(at) / 1000 / step) - first;
    const values = lines[names.indexOf(name)]?.values;
    if (values && place >= 0 && place < size) values[place] = (values[place] ?? 0) + count;
  }
  return { times, lines };
}
