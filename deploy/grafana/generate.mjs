#!/usr/bin/env node
// Writes dashboards/*.json: each panel is one entry below. With --check it writes nothing, and fails
// where a file is not what it would write.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Grafana's width. */
const COLUMNS = 24;
const DATASOURCE = { type: 'prometheus', uid: '${datasource}' };
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
const stat = (title, description, query, { unit = 'short', steps, mappings = [], width = 4 } = {}) => ({
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
const graph = (title, description, queries, { unit = 'short', steps, stack = false, max, width = 12 } = {}) => ({
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
const table = (title, description, query, { width = 12, hidden = [] } = {}) => ({
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

const row = (title) => ({ type: 'row', title, collapsed: false, panels: [], width: COLUMNS, height: 1 });

const quantiles = (metric, labels = '') =>
  [0.5, 0.95, 0.99].map((quantile) => [
    `histogram_quantile(${quantile}, sum by (le) (rate(${metric}_bucket{$S${labels}}[$__rate_interval])))`,
    `p${quantile * 100}`,
  ]);

const yesNo = (yes, no) => [
  { type: 'value', options: { 0: { text: no, color: 'green' }, 1: { text: yes, color: 'red' } } },
];

const OLDEST = stat('Oldest waits', 'Age of the oldest message that is accepted and not stored. Health warns beyond 30 s.',
  'max(faultline_oldest_unacknowledged_seconds{$S})', { unit: 's', steps: { orange: 30, red: 60 } });
const IMBALANCE = stat('Ledger', 'Messages by which received = stored + duplicate + rejected + in flight does not hold: 0.',
  'max(abs(faultline_ledger_imbalance_messages{$S}))', { unit: 'short', steps: { red: 1 } });
const SPOOL = stat('Spool', 'The fullest spool. At 100 % senders get 503.',
  'max(faultline_spool_bytes{$S} / faultline_spool_limit_bytes{$S})', { unit: 'percentunit', steps: { orange: 0.5, red: 0.8 } });

const dashboards = {
  overview: {
    title: 'Faultline: overview',
    description: 'Is it well, what comes in, what waits.',
    panels: [
      stat('Hubs up', 'Hubs that Prometheus can scrape.', 'sum(up{job="faultline-hub",$S})', {}),
      stat('Relays up', 'Relays that Prometheus can scrape.', 'sum(up{job="faultline-relay",$S})', {}),
      IMBALANCE,
      stat('In flight', 'Messages that are accepted and not stored yet.', 'sum(faultline_messages_in_flight{job="faultline-hub",$S})', { steps: { orange: 1000 } }),
      OLDEST,
      SPOOL,
      stat('Dead jobs', 'Jobs that were given up. Retry or discard them on the page Jobs.', 'max(faultline_jobs{state="dead",$S})', { steps: { red: 1 } }),
      stat('Jira', 'Whether Jira is left alone because it fails.', 'max(faultline_jira_breaker_open{$S})', { steps: { red: 1 }, mappings: yesNo('left alone', 'asked') }),
      stat('Dispatch', 'Whether people have paused dispatch, on all hubs.', 'max(faultline_dispatch_paused{$S})', { steps: { orange: 1 }, mappings: yesNo('paused', 'runs') }),
      stat('Store failures', 'Failed tries to write to the store in the last five minutes.', 'sum(increase(faultline_store_failures_total{$S}[5m]))', { steps: { red: 1 } }),
      stat('Alerts', 'Alerts of these rules that fire.', 'count(ALERTS{alertname=~"Faultline.+",alertstate="firing"}) or vector(0)', { steps: { red: 1 } }),
      stat('Up since', 'The youngest process.', 'min(faultline_uptime_seconds{$S})', { unit: 's' }),

      row('What comes in'),
      graph('Received', 'Messages a second by source: hubs and relays each count what they take in.', [
        ['sum by (job, source) (rate(faultline_messages_total{outcome="received",$S}[$__rate_interval]))', '{{job}} {{source}}'],
      ], { unit: 'cps', stack: true }),
      graph('What became of it', 'Messages a second at the hubs: stored, duplicate (sent twice, kept once), rejected (no parser understood them).', [
        ['sum by (outcome) (rate(faultline_messages_total{job="faultline-hub",outcome!="received",$S}[$__rate_interval]))', '{{outcome}}'],
      ], { unit: 'cps' }),
      graph('Events by kind', 'Events parsed, a second.', [
        ['sum by (kind) (rate(faultline_events_total{$S}[$__rate_interval]))', '{{kind}}'],
      ], { unit: 'cps', stack: true }),
      graph('Requests', 'Requests a second to the receivers, by path and status. 503 means: later.', [
        ['sum by (path, status) (rate(faultline_http_requests_total{$S}[$__rate_interval]))', '{{path}} {{status}}'],
      ], { unit: 'reqps' }),
      graph('Time to answer', 'How long senders wait for 2xx. Logplex gives up after 5 s.', quantiles('faultline_http_request_seconds'), { unit: 's', steps: { red: 5 } }),
      graph('Senders dropped before us', 'Messages that senders say they dropped (L10).', [
        ['sum by (instance) (increase(faultline_upstream_dropped_total{$S}[$__rate_interval]))'],
      ]),

      row('What waits'),
      graph('In flight', 'Messages accepted and not stored, by source.', [
        ['sum by (instance, source) (faultline_messages_in_flight{$S})', '{{instance}} {{source}}'],
      ]),
      graph('Spool', 'Used share of the spool. At 100 % senders get 503.', [
        ['faultline_spool_bytes{$S} / faultline_spool_limit_bytes{$S}'],
      ], { unit: 'percentunit', steps: { orange: 0.5, red: 0.8 }, max: 1 }),
      graph('Queues', 'Used share of each channel: the last full one holds up those before it.', [
        ['max by (instance, channel) (faultline_channel_depth{$S} / faultline_channel_capacity{$S})', '{{instance}} {{channel}}'],
      ], { unit: 'percentunit', max: 1 }),
      table('Alerts', 'Alerts of these rules, pending and firing.', 'ALERTS{alertname=~"Faultline.+"}', { hidden: ['__name__', 'job'] }),

      row('Processes'),
      graph('Memory', 'Resident memory. Health warns at 1 GiB.', [['process_resident_memory_bytes{job=~"faultline-.+",$S}']], { unit: 'bytes', steps: { red: 1073741824 } }),
      graph('Processor', 'Cores in use.', [['rate(process_cpu_seconds_total{job=~"faultline-.+",$S}[$__rate_interval])']]),
      graph('File descriptors', 'Open ones, and how many may be open.', [
        ['process_open_fds{job=~"faultline-.+",$S}', '{{instance}} open'],
        ['process_max_fds{job=~"faultline-.+",$S}', '{{instance}} limit'],
      ]),
      graph('Connections', 'Open connections by listener.', [
        ['sum by (instance, listener) (faultline_http_connections_open{$S})', '{{instance}} {{listener}}'],
        ['faultline_live_clients{$S}', '{{instance}} live clients'],
      ]),
      table('Versions', 'What runs where.', 'faultline_build_info{$S}', { hidden: ['__name__'] }),
      graph('Certificates', 'How long each listener\'s certificate is still valid.', [
        ['faultline_tls_certificate_expires_timestamp_seconds{$S} - time()', '{{instance}} {{listener}}'],
      ], { unit: 's' }),

      row('Access'),
      graph('Logins', 'Logins that succeeded, and those that did not, by reason.', [
        ['sum(increase(faultline_logins_total{$S}[$__rate_interval]))', 'succeeded'],
        ['sum by (reason) (increase(faultline_logins_refused_total{$S}[$__rate_interval]))', '{{reason}}'],
      ]),
      graph('Not let in', 'Requests to the admin listener that were not let in, by reason.', [
        ['sum by (instance, reason) (increase(faultline_admin_refused_total{$S}[$__rate_interval]))', '{{instance}} {{reason}}'],
      ]),

      row('Buckets'),
      graph('Changes of objects', 'Changes that were announced, a second, by type.', [
        ['sum by (type) (rate(faultline_bucket_changes_total{$S}[$__rate_interval]))', '{{type}}'],
      ]),
      graph('Requests to the object storage', 'What it costs: requests a second, by operation and status.', [
        ['sum by (operation, status) (rate(faultline_bucket_requests_total{$S}[$__rate_interval]))', '{{operation}} {{status}}'],
      ], { unit: 'reqps' }),
      graph('Last look at all buckets', 'How long ago all buckets were looked at without a failure.', [
        ['time() - faultline_bucket_last_success_timestamp_seconds{$S} and on (job, instance) faultline_bucket_watching{$S} == 1'],
      ], { unit: 's', steps: { red: 600 } }),
      graph('Passes', 'How long a pass over a bucket takes, and passes that failed.', [
        ...quantiles('faultline_bucket_pass_seconds').slice(1, 2),
        ['sum(increase(faultline_bucket_failures_total{$S}[$__rate_interval]))', 'failures'],
      ]),
    ],
  },

  latency: {
    title: 'Faultline: latency per layer',
    description: 'Where the time goes, from the sender to the store and to Jira.',
    panels: [
      stat('Answer, p99', 'Time until the sender has its 2xx.', 'histogram_quantile(0.99, sum by (le) (rate(faultline_http_request_seconds_bucket{$S}[$__rate_interval])))', { unit: 's', steps: { orange: 1, red: 5 }, width: 6 }),
      stat('Stored, p99', 'Time from acceptance until it is in the store.', 'histogram_quantile(0.99, sum by (le) (rate(faultline_stored_after_seconds_bucket{$S}[$__rate_interval])))', { unit: 's', steps: { orange: 2.5, red: 10 }, width: 6 }),
      stat('Jira, p95', 'Time of a call of Jira, within metrics_aggregator.window.', 'max(faultline_partner_latency_seconds{partner="jira",quantile="0.95",$S})', { unit: 's', steps: { orange: 2.5, red: 10 }, width: 6 }),
      stat('Timers, p99', 'How late timers fire: too little processor time where it is much.', 'histogram_quantile(0.99, sum by (le) (rate(faultline_runtime_lag_seconds_bucket{$S}[$__rate_interval])))', { unit: 's', steps: { orange: 0.1, red: 0.25 }, width: 6 }),
      row('From the sender to the disk'),
      graph('1 Request', 'Time to answer a request: everything up to 2xx.', quantiles('faultline_http_request_seconds'), { unit: 's' }),
      graph('1 Request, p99 by path', 'The same by path.', [
        ['histogram_quantile(0.99, sum by (path, le) (rate(faultline_http_request_seconds_bucket{$S}[$__rate_interval])))', '{{path}}'],
      ], { unit: 's' }),
      graph('2 Spool', 'Time of one write and fdatasync; one covers many requests.', quantiles('faultline_spool_commit_seconds'), { unit: 's', steps: { red: 0.25 } }),
      graph('2 Spool, commits', 'Commits and bytes a second. Requests / commits is how many share one fdatasync.', [
        ['sum by (instance) (rate(faultline_spool_commit_seconds_count{$S}[$__rate_interval]))', '{{instance}} commits'],
        ['sum by (instance) (rate(faultline_http_requests_total{$S}[$__rate_interval]))', '{{instance}} requests'],
      ], { unit: 'ops' }),
      row('From the disk to the store'),
      graph('3 Parser', 'Time to parse one block of records.', quantiles('faultline_parse_seconds'), { unit: 's' }),
      graph('4 Store', 'Time of a commit: events, counters and position in one transaction.', quantiles('faultline_store_operation_seconds', ',operation="commit"'), { unit: 's', steps: { red: 2.5 } }),
      graph('4 Store, p99 by operation', 'Likewise, by operation.', [
        ['histogram_quantile(0.99, sum by (operation, le) (rate(faultline_store_operation_seconds_bucket{$S}[$__rate_interval])))', '{{operation}}'],
      ], { unit: 's' }),
      graph('1 to 4: accepted until stored', 'Of the oldest record of each batch; from a relay, this includes the way through Redis.', quantiles('faultline_stored_after_seconds'), { unit: 's' }),
      row('Outside, and the runtime'),
      graph('Partners, p95', 'Calls of Jira, the store, Redis and the buckets.', [
        ['faultline_partner_latency_seconds{quantile="0.95",$S}', '{{instance}} {{partner}}'],
      ], { unit: 's' }),
      graph('Partners, median', 'Likewise, half of the calls.', [
        ['faultline_partner_latency_seconds{quantile="0.5",$S}', '{{instance}} {{partner}}'],
      ], { unit: 's' }),
      graph('Timers', 'How late timers fire.', quantiles('faultline_runtime_lag_seconds'), { unit: 's', steps: { red: 0.25 } }),
      graph('Oldest waits', 'Age of the oldest message that is not stored.', [['faultline_oldest_unacknowledged_seconds{$S}']], { unit: 's', steps: { orange: 30, red: 60 } }),
    ],
  },

  jira: {
    title: 'Faultline: Jira',
    description: 'Decisions, jobs and calls.',
    panels: [
      stat('Jira', 'Whether Jira is left alone because it fails.', 'max(faultline_jira_breaker_open{$S})', { steps: { red: 1 }, mappings: yesNo('left alone', 'asked') }),
      stat('Dispatch', 'Whether people have paused dispatch.', 'max(faultline_dispatch_paused{$S})', { steps: { orange: 1 }, mappings: yesNo('paused', 'runs') }),
      stat('Waiting', 'Jobs that wait or are to be tried again.', 'max(sum by (instance) (faultline_jobs{state=~"waiting|delayed",$S}))', { steps: { orange: 200 } }),
      stat('Unknown', 'Jobs of which it is looked up whether Jira has done them.', 'max(faultline_jobs{state="unknown",$S})', { steps: { orange: 1 } }),
      stat('Dead', 'Jobs that were given up.', 'max(faultline_jobs{state="dead",$S})', { steps: { red: 1 } }),
      stat('Hubs', 'Hubs that share the work.', 'max(faultline_hubs{$S})', {}),
      graph('Jobs by state', 'In the store; all hubs of one store show the same.', [
        ['max by (state) (faultline_jobs{state!~"completed|discarded",$S})', '{{state}}'],
      ], { stack: true }),
      graph('What came of jobs', 'Ends and retries a second, by action and outcome.', [
        ['sum by (action, outcome) (rate(faultline_job_outcomes_total{$S}[$__rate_interval]))', '{{action}} {{outcome}}'],
      ], { unit: 'ops' }),
      graph('Calls of Jira', 'Calls a second: ok, failed, unauthorized.', [
        ['sum by (outcome) (rate(faultline_partner_calls_total{partner="jira",$S}[$__rate_interval]))', '{{outcome}}'],
      ], { unit: 'reqps' }),
      graph('Calls that fail', 'Share of the calls that fail. The breaker opens at jira.breaker_rate.', [
        ['faultline:partner_failures:ratio_rate5m{partner="jira",$S}'],
      ], { unit: 'percentunit', steps: { orange: 0.2, red: 0.5 }, max: 1 }),
      graph('Latency of Jira', 'Median and 95th percentile within metrics_aggregator.window.', [
        ['faultline_partner_latency_seconds{partner="jira",$S}', '{{instance}} {{quantile}}'],
      ], { unit: 's' }),
      graph('Breaker', '1 while Jira is left alone.', [['faultline_jira_breaker_open{$S}']], { max: 1 }),
      graph('From faults to tickets', 'Decisions about faults, jobs written, and new tickets that a storm holds back, a second.', [
        ['sum(rate(faultline_decisions_total{$S}[$__rate_interval]))', 'decisions'],
        ['sum(rate(faultline_intents_total{$S}[$__rate_interval]))', 'jobs written'],
        ['sum(rate(faultline_held_back_total{$S}[$__rate_interval]))', 'held back'],
      ], { unit: 'ops' }),
      graph('What people do in Jira', 'Changes of tickets that were noticed, a second.', [
        ['sum(rate(faultline_ticket_changes_total{$S}[$__rate_interval]))', 'changes'],
      ], { unit: 'ops' }),
    ],
  },

  handoff: {
    title: 'Faultline: hand-over',
    description: 'From relays through Redis to hubs.',
    panels: [
      stat('Redis', 'Processes that cannot use Redis.', 'count(faultline_redis_up{$S} == 0) or vector(0)', { steps: { red: 1 } }),
      stat('Streams read', 'Streams that hubs hold.', 'sum(faultline_streams_held{$S})', {}),
      stat('Waiting', 'Relays that cannot hand over although Redis answers.', 'sum(faultline_handoff_waiting{$S})', { steps: { red: 1 } }),
      stat('Outstanding', 'Handed over and not committed, of what may be.', 'max(faultline_stream_outstanding_bytes{$S} / (faultline_stream_outstanding_limit_bytes{$S} > 0))', { unit: 'percentunit', steps: { orange: 0.5, red: 0.8 } }),
      stat('Oldest at relays', 'Age of the oldest message that no hub has committed.', 'max(faultline_oldest_unacknowledged_seconds{job="faultline-relay",$S})', { unit: 's', steps: { orange: 30, red: 60 } }),
      stat('Lost', 'Records that neither store nor relay has.', 'sum(faultline_stream_lost_records_total{$S})', { steps: { red: 1 } }),
      row('Relays'),
      graph('Accepted, handed over, committed', 'Messages a second at the relays. All three are equal in the long run.', [
        ['sum by (outcome) (rate(faultline_messages_total{job="faultline-relay",$S}[$__rate_interval]))', '{{outcome}}'],
      ], { unit: 'cps' }),
      graph('In flight', 'Messages that a relay keeps until a hub has committed them.', [
        ['sum by (instance) (faultline_messages_in_flight{job="faultline-relay",$S})'],
      ]),
      graph('Outstanding', 'Bytes handed over and not committed, and how much that may be (handoff.max_bytes).', [
        ['faultline_stream_outstanding_bytes{job="faultline-relay",$S}', '{{instance}}'],
        ['faultline_stream_outstanding_limit_bytes{$S}', '{{instance}} limit'],
      ], { unit: 'bytes' }),
      graph('Spool of the relays', 'Used share. It grows while Redis or all hubs are away.', [
        ['faultline_spool_bytes{job="faultline-relay",$S} / faultline_spool_limit_bytes{job="faultline-relay",$S}'],
      ], { unit: 'percentunit', steps: { orange: 0.5, red: 0.8 }, max: 1 }),
      graph('Into the streams', 'Entries a second.', [['rate(faultline_stream_entries_total{$S}[$__rate_interval])']], { unit: 'ops' }),
      graph('Bytes into the streams', 'Before compression.', [['rate(faultline_stream_bytes_total{$S}[$__rate_interval])']], { unit: 'Bps' }),
      row('Redis'),
      graph('Usable', '1 while Redis can be used.', [['faultline_redis_up{$S}']], { max: 1 }),
      graph('Calls', 'Commands a second, by how they ended.', [
        ['sum by (job, outcome) (rate(faultline_partner_calls_total{partner="redis",$S}[$__rate_interval]))', '{{job}} {{outcome}}'],
      ], { unit: 'ops' }),
      graph('Latency', 'Median and 95th percentile of commands.', [
        ['faultline_partner_latency_seconds{partner="redis",$S}', '{{instance}} {{quantile}}'],
      ], { unit: 's' }),
      graph('What went wrong, and healed', 'Failed tries, sending again, gaps and damaged entries.', [
        ['sum(increase(faultline_stream_failures_total{$S}[$__rate_interval]))', 'failed tries'],
        ['sum(increase(faultline_stream_resends_total{$S}[$__rate_interval]))', 'sent again'],
        ['sum(increase(faultline_stream_gaps_total{$S}[$__rate_interval]))', 'gaps'],
        ['sum(increase(faultline_stream_damaged_entries_total{$S}[$__rate_interval]))', 'damaged entries'],
      ]),
      row('Hubs'),
      graph('Streams by hub', 'Each stream is read by one hub at a time.', [['faultline_streams_held{job="faultline-hub",$S}']], { stack: true }),
      graph('Accepted until stored', 'Of the oldest record of each batch, the way through Redis included.', quantiles('faultline_stored_after_seconds', ',job="faultline-hub"'), { unit: 's' }),
    ],
  },

  load: {
    title: 'Faultline: load test',
    description: 'What to look at while it is under load: scripts/load.',
    panels: [
      stat('Received', 'Messages a second, at the hubs.', 'sum(rate(faultline_messages_total{job="faultline-hub",outcome="received",$S}[$__rate_interval]))', { unit: 'cps' }),
      stat('Stored', 'Messages a second, at the hubs.', 'sum(rate(faultline_messages_total{outcome="stored",$S}[$__rate_interval]))', { unit: 'cps' }),
      stat('Answer, p99', 'Time until the sender has its 2xx.', 'histogram_quantile(0.99, sum by (le) (rate(faultline_http_request_seconds_bucket{$S}[$__rate_interval])))', { unit: 's', steps: { orange: 1, red: 5 } }),
      stat('Errors', 'Share of the requests that are answered 5xx.', 'sum(rate(faultline_http_requests_total{status=~"5..",$S}[$__rate_interval]) or 0 * rate(faultline_http_requests_total{$S}[$__rate_interval])) / sum(rate(faultline_http_requests_total{$S}[$__rate_interval]))', { unit: 'percentunit', steps: { red: 0.0001 } }),
      OLDEST,
      IMBALANCE,
      graph('Throughput', 'Messages a second: received and stored drift apart while the spool grows.', [
        ['sum by (job, outcome) (rate(faultline_messages_total{$S}[$__rate_interval]))', '{{job}} {{outcome}}'],
      ], { unit: 'cps' }),
      graph('Requests', 'Requests a second, by status.', [
        ['sum by (status) (rate(faultline_http_requests_total{$S}[$__rate_interval]))', '{{status}}'],
      ], { unit: 'reqps' }),
      graph('Time to answer', 'p50, p95 and p99 of all requests.', quantiles('faultline_http_request_seconds'), { unit: 's' }),
      graph('Connections', 'Open ones, and new ones a second.', [
        ['sum(faultline_http_connections_open{listener="receiver",$S})', 'open'],
        ['sum(rate(faultline_http_connections_total{listener="receiver",$S}[$__rate_interval]))', 'new a second'],
      ]),
      graph('Memory', 'Resident: flat in a soak test.', [['process_resident_memory_bytes{job=~"faultline-.+",$S}']], { unit: 'bytes' }),
      graph('Processor', 'Cores in use.', [['rate(process_cpu_seconds_total{job=~"faultline-.+",$S}[$__rate_interval])']]),
      graph('File descriptors', 'Open ones: flat in a soak test.', [['process_open_fds{job=~"faultline-.+",$S}']]),
      graph('Threads', 'Of each process.', [['process_threads{job=~"faultline-.+",$S}']]),
      graph('Waits', 'Messages accepted and not stored.', [['sum by (instance) (faultline_messages_in_flight{$S})']]),
      graph('Spool', 'Bytes that wait, and bytes written a second.', [
        ['faultline_spool_bytes{$S}', '{{instance}} waits'],
        ['rate(faultline_spool_written_bytes_total{$S}[$__rate_interval])', '{{instance}} written a second'],
      ], { unit: 'bytes' }),
      graph('Queues', 'Used share of each channel.', [
        ['max by (channel) (faultline_channel_depth{$S} / faultline_channel_capacity{$S})', '{{channel}}'],
      ], { unit: 'percentunit', max: 1 }),
      graph('Timers', 'How late timers fire.', quantiles('faultline_runtime_lag_seconds'), { unit: 's' }),
      graph('Spool commits', 'Time of one write and fdatasync.', quantiles('faultline_spool_commit_seconds'), { unit: 's' }),
      graph('Store commits', 'Time of one commit.', quantiles('faultline_store_operation_seconds', ',operation="commit"'), { unit: 's' }),
    ],
  },
};

/** Puts panels side by side, and the next ones below. */
function placed(panels) {
  let [x, y, height] = [0, 0, 0];
  return panels.map(({ width, height: own, ...panel }, index) => {
    if (x + width > COLUMNS) [x, y, height] = [0, y + height, 0];
    const gridPos = { x, y, w: width, h: own };
    x += width;
    height = Math.max(height, own);
    const source = panel.type === 'row' ? {} : { datasource: DATASOURCE };
    return { id: index + 1, ...panel, ...source, gridPos };
  });
}

const variable = (name, label, query) => ({
  name,
  label,
  type: 'query',
  datasource: DATASOURCE,
  query: { qryType: 1, query, refId: name },
  definition: query,
  refresh: 2,
  sort: 1,
  multi: true,
  includeAll: true,
  allValue: '.+',
  current: { text: ['All'], value: ['$__all'] },
});

const dashboard = (name, { title, description, panels }) => ({
  uid: `faultline-${name}`,
  title,
  description,
  tags: ['faultline'],
  schemaVersion: 39,
  version: 1,
  editable: true,
  graphTooltip: 1,
  refresh: '30s',
  time: { from: 'now-3h', to: 'now' },
  timezone: 'browser',
  links: [{ type: 'dashboards', tags: ['faultline'], title: 'Faultline', asDropdown: false, includeVars: true, keepTime: true }],
  templating: {
    list: [
      {
        name: 'datasource',
        label: 'Prometheus',
        type: 'datasource',
        query: 'prometheus',
        current: { text: 'Prometheus', value: 'faultline-prometheus' },
      },
      variable('environment', 'Environment', 'label_values(up{job=~"faultline-.+"}, environment)'),
      variable('instance', 'Instance', 'label_values(up{job=~"faultline-.+",environment=~"$environment"}, instance)'),
    ],
  },
  annotations: { list: [] },
  panels: placed(panels),
});

const directory = join(dirname(fileURLToPath(import.meta.url)), 'dashboards');
const isCheck = process.argv.includes('--check');
mkdirSync(directory, { recursive: true });
for (const [name, what] of Object.entries(dashboards)) {
  const path = join(directory, `${name}.json`);
  const text = `${JSON.stringify(dashboard(name, what), null, 2)}\n`;
  if (!isCheck) writeFileSync(path, text);
  else if (readFileSync(path, 'utf8') !== text) {
    console.error(`${path} is not what deploy/grafana/generate.mjs writes`);
    process.exitCode = 1;
  }
}
