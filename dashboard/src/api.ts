/** What the admin API answers, and how it is asked. Corrections of the contract belong here. */

export type Role = 'viewer' | 'operator' | 'admin';
export type Scope = Role | 'metrics';

export interface Session {
  auth: 'off' | 'token' | 'users';
  role: Role | null;
  name: string | null;
  kind: 'anyone' | 'user' | 'token' | null;
  read_only: boolean;
  csrf: string | null;
  needs_setup: boolean;
  version: string;
}

export interface User {
  name: string;
  role: Role;
  created_at: string;
  last_login_at: string | null;
  is_disabled: boolean;
}

export interface Token {
  id: number | string;
  name: string;
  scope: Scope;
  created_by: string;
  created_at: string;
  expires_at: string | null;
  last_used_at: string | null;
}

export type FaultState = 'open' | 'resolved' | 'muted' | 'merged';

export interface TicketOfFault {
  key: string | null;
  url: string | null;
  status: string;
  is_done: boolean;
  is_dry_run: boolean;
  incident: number;
}

export interface Fault {
  id: number;
  environment: string;
  service: string;
  fingerprint: string;
  kind: string;
  severity: string;
  title: string;
  example: string;
  latest: string;
  count: number;
  first_seen: string;
  last_seen: string;
  merged_into: number | null;
  rule?: string;
  state: FaultState;
  resolved_at: string | null;
  /** `null` while muted: for ever. */
  muted_until: string | null;
  ticket: TicketOfFault | null;
  /** Per hour, the oldest first. */
  trend: number[];
}

export interface Shape {
  fingerprint: string;
  title: string;
  why: string;
  detail: string;
  count: number;
  first_seen: string;
  last_seen: string;
  closest: { fault: number; template: string; similarity: number } | null;
}

export interface MessagePart {
  text: string;
  /** The placeholder of what was masked. */
  mask?: string;
}

export interface FaultDetail {
  fault: Fault & { shapes: Shape[] };
  tokens: MessagePart[];
  events: Event[];
}

export interface Occurrences {
  step: 'hour' | 'day';
  occurrences: { at: string; environment: string; count: number }[];
}

export interface Ticket {
  fault: number;
  incident: number;
  locator: string;
  key: string | null;
  is_dry_run: boolean;
  status: string;
  is_done: boolean;
  resolution: string;
  created_at: string;
}

export interface Why {
  decision: string;
  decided_count: number;
  audit: AuditEntry[];
  tickets: Ticket[];
  jobs: Job[];
}

export interface NewTicket {
  environment: string;
  service: string;
  title: string;
  description?: string;
  severity?: string;
  project?: string;
  issue_type?: string;
  priority?: string;
}

export interface Event {
  id: string;
  occurred_at: string;
  received_at: string;
  source: string;
  kind: string;
  severity: string;
  environment: string;
  service: string;
  process: string | null;
  message: string;
  stack_trace: string | null;
  attributes: unknown;
  fingerprint: string | null;
  messages: number;
}

export const JOB_STATES = ['waiting', 'active', 'delayed', 'unknown', 'dead', 'completed', 'discarded'] as const;
export const JOB_ACTIONS = ['create', 'comment', 'reopen', 'edit'] as const;

export interface Job {
  id: number;
  fault: number;
  incident: number;
  action: string;
  mark: string;
  environment: string;
  state: string;
  rule: string;
  attempts: number;
  searches: number;
  key: string | null;
  locator: string;
  error: string;
  request: unknown;
  response: unknown;
  created_at: string;
  updated_at: string;
  due_at: string;
}

export interface JobFailure {
  at: string;
  error: string;
  problems: unknown;
  request: unknown;
}

export interface JobDetail {
  job: Job;
  history: AuditEntry[];
  failures: JobFailure[];
}

export interface JobCounts {
  states: Record<string, number>;
  queues: { action: string; states: Record<string, number> }[];
}

/** Which jobs: of `POST /api/jobs/retry` and `/discard`. */
export interface WhichJobs {
  ids?: number[];
  state?: string;
  action?: string;
  environment?: string;
  fault?: number;
  key?: string;
  text?: string;
}

export interface Dispatch {
  paused: boolean;
  dryRun: boolean;
  hubs: number;
  jobs: Record<string, number>;
}

export interface Rejected {
  id: number;
  received_at: string;
  source: string;
  reason: string;
  bytes: string;
  length: number;
  messages: number;
  replayed_at: string | null;
}

export type RejectedDetail = Rejected & { text: string; hex: string };

/** What became of a replay. */
export interface Replayed {
  replayed: number;
  /** Rows that cannot be replayed. */
  skipped?: number;
  /** The bound of one request was reached. */
  more?: boolean;
}

export interface Notification {
  id: number;
  at: string;
  severity: 'info' | 'warning' | 'critical';
  component: string;
  title: string;
  body: string;
  link: string | null;
  is_read: boolean;
}

export interface AuditEntry {
  id: number;
  at: string;
  who: string;
  action: string;
  subject: string;
  details: unknown;
  fault?: number | null;
  job?: number | null;
}

/** What Faultline tells people about itself. */
export interface Alert {
  id: number;
  kind: string;
  class: string;
  title: string;
  subject: string;
  hub: string;
  opened_by: string;
  cause: string;
  link: string;
  since: string;
  opened_at: string;
  seen_at: string;
  told_at: string | null;
  told: number;
  silenced_until: string | null;
  silenced_by: string | null;
  resolved_at: string | null;
  note: string | null;
  waiting: number;
  delivered: number;
  dead: number;
  last_error: string | null;
}

export interface Statistics {
  days: { day: string; key: string; events: number; messages: number }[];
  jobs: { day: string; action: string; outcome: string; count: number }[];
}

export interface Retention {
  events: string;
  is_archived: boolean;
  is_running: boolean;
  last_success: string | null;
  problem: string | null;
  days: { day: string; events: number; bytes: number | null; goes_at: string | null }[];
  restored: { day: string; file: string; restored: number; until: string }[];
  gone: { id: string; day: string; stage: string; file: string | null; events: number; bytes: number }[];
  sizes: { table: string; bytes: number; rows: number | null }[];
}

export type Status = 'healthy' | 'degraded' | 'unhealthy';

export interface Component {
  status: Status;
  /** Milliseconds. */
  responseTime: number;
  details?: Record<string, unknown>;
  error?: string;
  /** Since when its status is this. */
  since?: string;
}

/** A component did otherwise than before. */
export interface HealthChange {
  id: number;
  at: string;
  hub: string;
  component: string;
  before: Status;
  status: Status;
  error: string;
}

/** Lines of the program's own log that say the same. */
export interface OwnError {
  id: number;
  hub: string;
  level: 'warn' | 'error';
  target: string;
  template: string;
  message: string;
  first_at: string;
  last_at: string;
  count: number;
}

export interface Health {
  timestamp: string;
  overall: Status;
  components: Record<string, Component>;
  duration: number;
}

export interface Partner {
  name: string;
  is_configured: boolean;
  status: Status | 'off';
  requests: number;
  failures: number;
  success_rate: number | null;
  latency_ms: { p50: number; p95: number } | null;
  auth_failures: number;
  last_success: string | null;
  last_failure: string | null;
  last_error: string | null;
  breaker: string | null;
  details: Record<string, unknown>;
}

export interface LedgerLine {
  received: number;
  stored: number;
  duplicate: number;
  rejected: number;
  in_flight: number;
}

export interface Ledger {
  balanced: boolean;
  sources: Record<string, LedgerLine>;
}

export interface Throughput {
  at: string;
  received_per_second: number;
  stored_per_second: number;
  rejected_per_second: number;
  in_flight: number;
  channels: { channel: string; depth: number; capacity: number }[];
  spool_bytes: number;
  spool_limit_bytes: number;
  commit_ms: number;
  jobs: Record<string, number>;
}

/** `GET /metrics` as JSON. Times are in nanoseconds, rates in percent. */
export interface Metrics {
  requests_per_second: number;
  error_rate: number;
  avg_response_time: number;
  p50_response_time: number;
  p95_response_time: number;
  p99_response_time: number;
  window_seconds: number;
  window_requests: number;
  dyno_performance: Record<
    string,
    { name: string; request_count: number; avg_response_time: number; error_rate: number; status: string }
  >;
  top_endpoints: { endpoint: string; count: number }[];
  active_alerts: { type: string; severity: string; message: string; timestamp: string; resolved: boolean }[];
}

/** A page of a list: `rows`, and where the next one begins. */
export interface Page<T> {
  rows: T[];
  next: string | null;
  /** Of events: the search ran out of time here; `next` goes on. */
  searched_until?: string | null;
}

export type Query = Record<string, string | number | boolean | null | undefined>;

/** The settings in force. */
export interface Config {
  config: Record<string, unknown>;
  loaded_at: string;
  file: string | null;
}

/** A setting that differs; secrets are masked. */
export interface SettingChange {
  key: string;
  old: unknown;
  new: unknown;
  secret: boolean;
}

/** What a reload does, or would do. */
export interface Reloaded {
  preview: boolean;
  applied: SettingChange[];
  restart: SettingChange[];
  unchanged: number;
  notes: string[];
  loaded_at: string;
}
