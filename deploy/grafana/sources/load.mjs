import { stat, graph, quantiles, OLDEST, IMBALANCE, PROCESSOR } from '../panels.mjs';

export default {
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
    PROCESSOR,
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
};
