// Plots as SVG, readable on light and on dark pages. No library: lines, axes and a legend.

const WIDTH = 760;
const HEIGHT = 280;
const MARGIN = { left: 64, right: 16, top: 44, bottom: 40 };
const COLOURS = ['blue', 'orange', 'green', 'purple'];

const STYLE = `
  :root { --paper: #ffffff; --ink: #1f2328; --faint: #d1d9e0;
    --blue: #0969da; --orange: #bc4c00; --green: #1a7f37; --purple: #8250df; }
  @media (prefers-color-scheme: dark) { :root { --paper: #0d1117; --ink: #e6edf3; --faint: #30363d;
    --blue: #58a6ff; --orange: #ffa657; --green: #56d364; --purple: #d2a8ff; } }
  .paper { fill: var(--paper); } text { fill: var(--ink); font: 12px system-ui, sans-serif; }
  .title { font-weight: 600; font-size: 14px; } .grid { stroke: var(--faint); }
  .mark { stroke: var(--ink); stroke-dasharray: 2 4; opacity: 0.6; }
  .line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
  ${COLOURS.map((colour) => `.${colour} { stroke: var(--${colour}); }`).join(' ')}`;

const escape = (text) => String(text).replace(/[<>&"]/g, (sign) => `&#${sign.charCodeAt(0)};`);

/** Round steps that make about so many parts. */
export function ticks(highest, parts) {
  const rough = Math.max(highest, 1e-9) / parts;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  const count = Math.ceil(highest / step - 1e-9);
  return Array.from({ length: Math.max(1, count) + 1 }, (_, index) => index * step);
}

export function shown(value) {
  if (value >= 1e6) return `${+(value / 1e6).toFixed(2)} M`;
  if (value >= 1e3) return `${+(value / 1e3).toFixed(1)} k`;
  return String(+value.toFixed(2));
}

/**
 * A plot over time. `series`: [{ name, points: [[seconds, value], …] }]; `marks`: [[seconds, text], …],
 * what began when.
 */
export function plot({ title, unit, series, marks = [] }) {
  const points = series.flatMap((one) => one.points);
  const longest = Math.max(1, ...points.map(([at]) => at));
  const perMinute = longest > 300;
  const across = ticks(longest / (perMinute ? 60 : 1), 8);
  const up = ticks(Math.max(...points.map(([, value]) => value), 1e-9), 5);
  const right = Math.max(longest, 1);
  const x = (at) => MARGIN.left + (at / right) * (WIDTH - MARGIN.left - MARGIN.right);
  const y = (value) =>
    HEIGHT - MARGIN.bottom - (value / up.at(-1)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const out = [];
  for (const value of up) {
    out.push(`<line class="grid" x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${y(value)}" y2="${y(value)}"/>`);
    out.push(`<text x="${MARGIN.left - 8}" y="${y(value) + 4}" text-anchor="end">${shown(value)}</text>`);
  }
  for (const value of across) {
    const at = perMinute ? value * 60 : value;
    if (at > right * 1.001) continue;
    out.push(`<text x="${x(at).toFixed(1)}" y="${HEIGHT - 18}" text-anchor="middle">${shown(value)}</text>`);
  }
  out.push(`<text x="${WIDTH - MARGIN.right}" y="${HEIGHT - 4}" text-anchor="end">${perMinute ? 'minutes' : 'seconds'}</text>`);
  for (const [at, text] of marks) {
    out.push(`<line class="mark" x1="${x(at).toFixed(1)}" x2="${x(at).toFixed(1)}" y1="${MARGIN.top}" y2="${HEIGHT - MARGIN.bottom}"/>`);
    out.push(`<text x="${(x(at) + 4).toFixed(1)}" y="${MARGIN.top + 10}">${escape(text)}</text>`);
  }
  let legend = WIDTH - MARGIN.right;
  for (const [index, one] of [...series.entries()].reverse()) {
    const colour = COLOURS[index % COLOURS.length];
    const path = one.points.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(' ');
    out.push(`<polyline class="line ${colour}" points="${path}"/>`);
    legend -= one.name.length * 7 + 34;
    out.push(`<line class="line ${colour}" x1="${legend}" x2="${legend + 18}" y1="20" y2="20"/>`);
    out.push(`<text x="${legend + 23}" y="24">${escape(one.name)}</text>`);
  }
  const heading = `${escape(title)}, ${escape(unit)}`;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img" aria-label="${heading}">
<style>${STYLE}</style>
<rect class="paper" width="${WIDTH}" height="${HEIGHT}"/>
<text class="title" x="12" y="24">${heading}</text>
${out.join('\n')}
</svg>
`;
}
