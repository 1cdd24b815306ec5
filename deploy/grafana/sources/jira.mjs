import { stat, graph, yesNo, JIRA } from '../panels.mjs';

export default {
  title: 'Faultline: Jira',
  description: 'Decisions, jobs and calls.',
  panels: [
    JIRA,
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
};
