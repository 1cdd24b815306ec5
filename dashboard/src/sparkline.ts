/** The path of a sparkline's bars. Pure. */

/** A bar for each value, from 0 to the largest, as an SVG path. What is not 0 is at least one pixel high. */
export function bars(values: number[], width: number, height: number): string {
  const most = Math.max(1, ...values);
  const step = width / Math.max(1, values.length);
  const wide = Math.max(1, step - 1);
  let path = '';
  values.forEach((value, index) => {
    const high = value <= 0 ? 0 : Math.max(1, (value / most) * height);
    if (high > 0) path += `M${fix(index * step)} ${fix(height)}v${fix(-high)}h${fix(wide)}V${fix(height)}z`;
  });
  return path;
}

/** What the sparkline says to who does not see it. */
export function described(values: number[], step: string): string {
  const sum = values.reduce((all, value) => all + value, 0);
  return `${sum} in ${values.length} ${step}s, at most ${Math.max(0, ...values)} in one`;
}

const fix = (value: number) => Number(value.toFixed(2)).toString();
