/** Every route of the API, typed. */
import type {
  Alert, AuditEntry, Config, Dispatch, Event, Fault, FaultDetail, Health, HealthChange, Job, JobCounts, JobDetail, Ledger,
  Metrics, NewTicket, Notification, Occurrences, OwnError, Page, Partner, Query, Rejected, RejectedDetail, Reloaded, Replayed,
  Retention, Role, Scope, Session, Statistics,
  Throughput, Ticket, Token, User, WhichJobs, Why,
} from './api';
import { Problem, request } from './request';

type ProblemBody = { title: string; detail?: string };

type Signal = AbortSignal | undefined;
type Listing<K extends string, T> = Record<K, T[]> & { next?: string | null; searched_until?: string | null };

const get = <T>(path: string, query: Query = {}, signal?: Signal) =>
  request<T>('GET', path, signal ? { query, signal } : { query });
const post = <T>(path: string, body: unknown = {}) => request<T>('POST', path, { body });

async function list<K extends string, T>(name: K, path: string, query: Query, signal?: Signal): Promise<Page<T>> {
  const answer = await get<Listing<K, T>>(path, query, signal);
  return { rows: answer[name], next: answer.next ?? null, searched_until: answer.searched_until ?? null };
}

export const api = {
  session: () => request<Session>('GET', '/api/session', { isLogin: true }),
  login: (name: string, password: string) =>
    request<Session>('POST', '/api/session', { body: { name, password }, isLogin: true }),
  logout: () => request<void>('DELETE', '/api/session'),
  setup: (token: string, name: string, password: string) =>
    request<Session>('POST', '/api/setup', { body: { token, name, password }, isLogin: true }),
  changePassword: (old: string, fresh: string) =>
    request<void>('POST', '/api/session/password', { body: { old, new: fresh }, isLogin: true }),

  users: () => get<{ users: User[] }>('/api/users'),
  addUser: (name: string, role: Role, password: string) => post<unknown>('/api/users', { name, role, password }),
  changeUser: (name: string, change: { role?: Role; password?: string; is_disabled?: boolean }) =>
    request<unknown>('PATCH', `/api/users/${encodeURIComponent(name)}`, { body: change }),
  removeUser: (name: string) => request<void>('DELETE', `/api/users/${encodeURIComponent(name)}`),
  tokens: () => get<{ tokens: Token[] }>('/api/tokens'),
  addToken: (name: string, scope: Scope, expires_in?: string) =>
    post<Token & { token: string }>('/api/tokens', { name, scope, ...(expires_in ? { expires_in } : {}) }),
  removeToken: (id: Token['id']) => request<void>('DELETE', `/api/tokens/${encodeURIComponent(id)}`),

  faults: (query: Query, signal?: Signal) => list<'faults', Fault>('faults', '/api/faults', query, signal),
  fault: (id: number) => get<FaultDetail>(`/api/faults/${id}`),
  occurrences: (id: number, query: Query) => get<Occurrences>(`/api/faults/${id}/occurrences`, query),
  why: (id: number) => get<Why>(`/api/faults/${id}/why`),
  facets: () => get<{ environments: string[]; services: string[] }>('/api/facets'),
  resolve: (id: number, comment?: string) => post<unknown>(`/api/faults/${id}/resolve`, comment ? { comment } : {}),
  reopen: (id: number) => post<unknown>(`/api/faults/${id}/reopen`),
  mute: (id: number, span?: string) => post<unknown>(`/api/faults/${id}/mute`, span ? { for: span } : {}),
  unmute: (id: number) => post<unknown>(`/api/faults/${id}/unmute`),
  merge: (id: number, into: number) => post<{ fault: number }>(`/api/faults/${id}/merge`, { into }),
  split: (id: number, fingerprint: string) => post<{ fault: number }>(`/api/faults/${id}/split`, { fingerprint }),
  pin: (id: number, fingerprint: string) => post<{ fault: number }>(`/api/faults/${id}/pin`, { fingerprint }),
  createTicket: (id: number, fields: Record<string, string>) => post<{ job: number }>(`/api/faults/${id}/ticket`, fields),
  linkTicket: (id: number, key: string) => post<{ ticket: Ticket }>(`/api/faults/${id}/link`, { key }),
  ticketByHand: (ticket: NewTicket) => post<{ fault: number; job: number }>('/api/tickets', ticket),

  events: (query: Query, signal?: Signal) => list<'events', Event>('events', '/api/events', query, signal),
  event: (id: string) => get<Event>(`/api/events/${encodeURIComponent(id)}`),

  jobs: (query: Query, signal?: Signal) => list<'jobs', Job>('jobs', '/api/jobs', query, signal),
  job: (id: number) => get<JobDetail>(`/api/jobs/${id}`),
  jobCounts: (query: Query) => get<JobCounts>('/api/jobs/counts', query),
  countJobs: (verb: 'retry' | 'discard', which: WhichJobs) =>
    post<{ count: number }>(`/api/jobs/${verb}`, { ...which, preview: true }),
  steerJobs: (verb: 'retry' | 'discard', which: WhichJobs) => post<{ jobs: number[] }>(`/api/jobs/${verb}`, which),
  steerJob: (verb: 'retry' | 'discard', id: number) => post<{ jobs: number[] }>(`/api/jobs/${id}/${verb}`),
  editJob: (id: number, body: unknown) => post<{ jobs: number[] }>(`/api/jobs/${id}/edit`, body),
  dispatch: () => get<Dispatch>('/api/dispatch'),
  pause: (verb: 'pause' | 'resume') => post<{ paused: boolean }>(`/api/dispatch/${verb}`),

  rejected: (query: Query, signal?: Signal) => list<'rejected', Rejected>('rejected', '/api/rejected', query, signal),
  oneRejected: (id: number) => get<RejectedDetail>(`/api/rejected/${id}`),
  replayOne: (id: number) => post<Replayed>(`/api/rejected/${id}/replay`),
  countReplay: (which: Query | { ids: number[] }) =>
    post<{ count: number }>('/api/rejected/replay', { ...which, preview: true }),
  replay: (which: Query | { ids: number[] }) => post<Replayed>('/api/rejected/replay', which),

  alerts: (query: Query, signal?: Signal) => list<'alerts', Alert>('alerts', '/api/alerts', query, signal),
  silence: (id: number, span: string) => post<unknown>(`/api/alerts/${id}/silence`, { for: span }),
  tryAlerts: () => post<{ opened: boolean }>('/api/alerts/test'),
  notifications: (query: Query, signal?: Signal) =>
    get<{ notifications: Notification[]; unread: number; next?: string | null }>('/api/notifications', query, signal),
  markRead: (which: { ids: number[] } | { all: true }) => post<{ unread: number }>('/api/notifications/read', which),
  audit: (query: Query, signal?: Signal) => list<'audit', AuditEntry>('audit', '/api/audit', query, signal),
  statistics: (query: Query) => get<Statistics>('/api/statistics', query),
  retention: () => get<Retention>('/api/retention'),
  config: () => get<Config>('/api/config'),
  previewReload: () => post<Reloaded>('/api/reload?preview=true'),
  reload: () => post<Reloaded>('/api/reload'),
  partners: () => get<{ partners: Partner[] }>('/api/partners'),
  health: async () => {
    // Unhealthy is 503, with the same body.
    const health = await request<Health | ProblemBody>('GET', '/api/health', { accepts: [503] });
    if ('components' in health) return health;
    throw new Problem(503, health.title, health.detail ?? '');
  },
  healthHistory: (query: Query, signal?: Signal) =>
    list<'changes', HealthChange>('changes', '/api/health/history', query, signal),
  ownErrors: (query: Query, signal?: Signal) => list<'errors', OwnError>('errors', '/api/errors', query, signal),
  ledger: () => get<Ledger>('/api/ledger'),
  throughput: (query: Query = {}) => get<{ samples: Throughput[] }>('/api/throughput', query),
  metrics: () => get<Metrics>('/metrics'),
};
