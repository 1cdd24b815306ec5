import { stat, graph, row, quantiles } from '../panels.mjs';

export default {
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
};
