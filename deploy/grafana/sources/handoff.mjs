import { stat, graph, row, quantiles } from '../panels.mjs';

export default {
  title: 'Faultline: hand-over',
  description: 'From relays through Redis to hubs.',
  panels: [
    stat('Redis', 'Processes that cannot use Redis.', 'count(faultline_redis_up{$S} == 0) or vector(0)', { steps: { red: 1 } }),
    stat('Streams read', 'Streams that hubs hold.', 'sum(faultline_streams_held{$S})', {}),
    stat('Waiting', 'Relays that cannot hand over although Redis answers.', 'sum(faultline_handoff_waiting{$S})', { steps: { red: 1 } }),
    stat('Outstanding', 'Handed over and not committed, of what may be.', 'max(faultline_stream_outstanding_bytes{$S} / (faultline_stream_outstanding_limit_bytes{$S} > 0))', { unit: 'percentunit', steps: { orange: 0.5, red: 0.8 } }),
    stat('Oldest at relays', 'Age of the oldest message that no hub has committed.', 'max(faultline_oldest_unacknowledged_seconds{job="faultline-relay",$S})', { unit: 's', steps: { orange: 30, red: 60 } }),
    stat('Lost', 'Records that neither the store nor their journal has.', 'sum(faultline_lost_records_total{$S})', { steps: { red: 1 } }),
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
};
