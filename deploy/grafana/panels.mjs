// Kinds of panels, and those that several dashboards have.

/** Grafana's width. */
export const COLUMNS = 24;
export const DATASOURCE = { type: 'prometheus', uid: '${datasource}' };
/** What the variables choose; stands for `$S` in queries. */
const SELECTED = 'environment=~"$environment",instance=~"$instance"';

const GREEN = { color: 'green', value: null };
/** Colours from values on: `{ orange: 0.5, red: 0.8 }`. */
const thresholds = (steps = {}) => ({
  mode: 'absolute',
  steps: [GREEN, ...Object.entries(steps).map(([color, value]) => ({ color, value }))],
});

const target = ([expr, legendFormat = '{{instance}}'], index, more = {}) => ({
  refId: String.fromCharCode(65 + index),
  datasource: DATASOURCE,
  expr: expr.replaceAll('$S', SELECTED),
  legendFormat,
  ...more,
});

/** One value now, of the worst instance or of all. */
export const stat = (title, description, query, { unit = 'short', steps, mappings = [], width = 4 } = {}) => ({
  type: 'stat',
  title,
  description,
  width,
  height: 4,
  fieldConfig: { defaults: { unit, mappings, thresholds: thresholds(steps) }, overrides: [] },
  options: {
    colorMode: steps ? 'background' : 'value',
    graphMode: 'area',
    reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
    textMode: 'auto',
  },
  targets: [target([query, ''], 0)],
});

/** Values over time. */
export const graph = (title, description, queries, { unit = 'short', steps, stack = false, max, width = 12 } = {}) => ({
  type: 'timeseries',
  title,
  description,
  width,
  height: 8,
  fieldConfig: {
    defaults: {
      unit,
      min: 0,
      ...(max === undefined ? {} : { max }),
      color: { mode: 'palette-classic' },
      thresholds: thresholds(steps),
      custom: {
        drawStyle: 'line',
        fillOpacity: stack ? 30 : 5,
        lineWidth: 1,
        showPoints: 'never',
        spanNulls: false,
        stacking: { group: 'A', mode: stack ? 'normal' : 'none' },
        thresholdsStyle: { mode: steps ? 'line' : 'off' },
      },
    },
    overrides: [],
  },
  options: {
    legend: { calcs: ['lastNotNull', 'max'], displayMode: 'table', placement: 'bottom', showLegend: true },
    tooltip: { mode: 'multi', sort: 'desc' },
  },
  targets: queries.map((query, index) => target(query, index)),
});

/** Rows of labels, now. */
export const table = (title, description, query, { width = 12, hidden = [] } = {}) => ({
  type: 'table',
  title,
  description,
  width,
  height: 8,
  fieldConfig: { defaults: { thresholds: thresholds() }, overrides: [] },
  options: { showHeader: true, cellHeight: 'sm' },
  targets: [target([query, ''], 0, { format: 'table', instant: true })],
  transformations: [
    { id: 'organize', options: { excludeByName: Object.fromEntries(['Time', 'Value', ...hidden].map((name) => [name, true])) } },
  ],
});

export const row = (title) => ({ type: 'row', title, collapsed: false, panels: [], width: COLUMNS, height: 1 });

export const quantiles = (metric, labels = '') =>
  [0.5, 0.95, 0.99].map((quantile) => [
    `histogram_quantile(${quantile}, sum by (le) (rate(${metric}_bucket{$S${labels}}[$__rate_interval])))`,
    `p${quantile * 100}`,
  ]);

export const yesNo = (yes, no, [colorOfNo, colorOfYes] = ['green', 'red']) => [
  { type: 'value', options: { 0: { text: no, color: colorOfNo }, 1: { text: yes, color: colorOfYes } } },
];

export const OLDEST = stat('Oldest waits', 'Age of the oldest message that is accepted and not stored. Health warns beyond 30 s.',
  'max(faultline_oldest_unacknowledged_seconds{$S})', { unit: 's', steps: { orange: 30, red: 60 } });
export const IMBALANCE = stat('Ledger', 'Messages by which received = stored + duplicate + rejected + in flight does not hold: 0.',
  'max(abs(faultline_ledger_imbalance_messages{$S}))', { unit: 'short', steps: { red: 1 } });
export const JIRA = stat('Jira', 'Whether Jira is left alone because it fails.', 'max(faultline_jira_breaker_open{$S})', { steps: { red: 1 }, mappings: yesNo('left alone', 'asked') });
export const PROCESSOR = graph('Processor', 'Cores in use.', [['rate(process_cpu_seconds_total{job=~"faultline-.+",$S}[$__rate_interval])']]);
