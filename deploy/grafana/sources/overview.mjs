import { stat, graph, table, row, quantiles, yesNo, OLDEST, IMBALANCE, JIRA, PROCESSOR } from '../panels.mjs';

const SPOOL = stat('Spool', 'The fullest spool. At 100 % senders get 503.',
  'max(faultline_spool_bytes{$S} / faultline_spool_limit_bytes{$S})', { unit: 'percentunit', steps: { orange: 0.5, red: 0.8 } });

export default {
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
    JIRA,
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
    PROCESSOR,
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
};
