import { stat, graph, row, yesNo } from '../panels.mjs';

const HEALTH = [
  {
    type: 'value',
    options: {
      0: { text: 'healthy', color: 'green' },
      1: { text: 'degraded', color: 'orange' },
      2: { text: 'unhealthy', color: 'red' },
    },
  },
];

export default {
  title: 'Faultline: upkeep',
  description: 'Health, alerts, configuration, and what leaves the store.',
  panels: [
    stat('Health', 'The component that does worst.', 'max(faultline_component_status{$S})', { steps: { orange: 1, red: 2 }, mappings: HEALTH }),
    stat('Open alerts', 'Alerts of Faultline itself that are open; hubs of one store show the same.', 'sum(max by (class) (faultline_alerts_open{$S}))', { steps: { orange: 1 } }),
    stat('Not sent', 'Failed tries to send messages about alerts, in the last hour.', 'sum(increase(faultline_alert_deliveries_total{outcome=~"failed|dead",$S}[1h]))', { steps: { red: 1 } }),
    stat('Configuration', 'Whether each process could use the configuration that it read last.', 'min(faultline_config_last_reload_successful{$S})', { steps: { green: 1 }, mappings: yesNo('in force', 'refused', ['red', 'green']) }),
    stat('Last retention', 'How long ago everything that is old had left the store.', 'time() - max(faultline_retention_last_success_timestamp_seconds{$S})', { unit: 's', steps: { orange: 7200, red: 86400 } }),
    stat('Oldest events', 'Age of the oldest day in the store.', 'time() - min(faultline_store_oldest_day_timestamp_seconds{$S})', { unit: 's' }),
    row('Health and alerts'),
    graph('Components', '0 healthy, 1 degraded, 2 unhealthy.', [
      ['max by (instance, component) (faultline_component_status{$S}) > 0 or max by (instance) (0 * faultline_component_status{$S})', '{{instance}} {{component}}'],
    ], { max: 2 }),
    graph('Alerts', 'Open ones, by class.', [['max by (class) (faultline_alerts_open{$S})', '{{class}}']], { stack: true }),
    graph('Messages', 'Tries to send messages about alerts, by channel and outcome.', [
      ['sum by (channel, outcome) (increase(faultline_alert_deliveries_total{$S}[$__rate_interval]))', '{{channel}} {{outcome}}'],
    ]),
    graph('Own log', 'Lines of WARN and ERROR a second, and those that are not in the store.', [
      ['sum by (level) (rate(faultline_log_lines_total{level=~"(?i)warn|error",$S}[$__rate_interval]))', '{{level}}'],
      ['sum by (reason) (rate(faultline_error_logs_dropped_total{$S}[$__rate_interval]))', 'not kept: {{reason}}'],
      ['sum by (reason) (rate(faultline_health_changes_dropped_total{$S}[$__rate_interval]))', 'changes of health not kept: {{reason}}'],
    ], { unit: 'ops' }),
    row('Configuration'),
    graph('Reloads', 'By outcome.', [
      ['sum by (instance, outcome) (increase(faultline_config_reloads_total{$S}[$__rate_interval]))', '{{instance}} {{outcome}}'],
    ]),
    graph('In force since', 'How long ago the configuration in force was read.', [
      ['time() - faultline_config_last_reload_timestamp_seconds{$S}'],
    ], { unit: 's' }),
    row('Retention'),
    graph('Runs', 'By outcome.', [
      ['sum by (outcome) (increase(faultline_retention_runs_total{$S}[$__rate_interval]))', '{{outcome}}'],
    ]),
    graph('Rows that left', 'By table.', [
      ['sum by (table) (increase(faultline_retention_dropped_rows_total{$S}[$__rate_interval]))', '{{table}}'],
    ]),
    graph('Archived', 'Events and bytes written to archives.', [
      ['sum(increase(faultline_retention_archived_events_total{$S}[$__rate_interval]))', 'events'],
      ['sum(increase(faultline_retention_archived_bytes_total{$S}[$__rate_interval]))', 'bytes'],
    ]),
    graph('Size of the store', 'Bytes by table, indexes included.', [
      ['max by (table) (faultline_store_bytes{$S})', '{{table}}'],
    ], { unit: 'bytes', stack: true }),
    graph('Rows in the store', 'By table, as far as they are counted.', [['max by (table) (faultline_store_rows{$S})', '{{table}}']]),
    graph('Disk of the spool', 'Free, and all.', [
      ['faultline_disk_free_bytes{$S}', '{{instance}} free'],
      ['faultline_disk_total_bytes{$S}', '{{instance}} all'],
    ], { unit: 'bytes' }),
  ],
};
