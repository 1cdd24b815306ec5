/** How the API is asked: errors as problems, the CSRF header, and whether the server can be reached. */
import { ref } from 'vue';
import type { Query, Session } from './api';

/** `application/problem+json`, or what comes closest to it. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string,
    readonly pointer?: string,
    /** Seconds, where the server says when to come again. */
    readonly retryAfter?: number,
  ) {
    super(detail || title);
  }
}

/** Whether the last request was answered by anybody. */
export const isReachable = ref(true);

const BEARER = 'faultline.bearer';
let csrf: string | null = null;
let unauthorized: () => void = () => undefined;

export function useSession(session: Session): void {
  csrf = session.csrf;
}

/** Called when the server says that nobody is logged in any more. */
export function onUnauthorized(call: () => void): void {
  unauthorized = call;
}

/** With `admin.auth = "token"` the token stays in this tab. */
export function bearer(): string | null {
  return sessionStorage.getItem(BEARER);
}

export function keepBearer(token: string | null): void {
  if (token === null) sessionStorage.removeItem(BEARER);
  else sessionStorage.setItem(BEARER, token);
}

/** `path?key=value…`, without what is empty. */
export function address(path: string, query: Query = {}): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '') search.set(key, String(value));
  }
  const text = search.toString();
  return text ? `${path}?${text}` : path;
}

export function headers(method: string, more: Record<string, string> = {}): Record<string, string> {
  const all: Record<string, string> = { accept: 'application/json', ...more };
  const token = bearer();
  if (token) all['authorization'] = `Bearer ${token}`;
  if (method !== 'GET' && csrf) all['x-csrf-token'] = csrf;
  return all;
}

/** Sends, and gives the answer whatever its status; fails as a problem where there is none. */
export async function send(method: string, url: string, init: RequestInit = {}): Promise<Response> {
  try {
    const answer = await fetch(url, { ...init, method, credentials: 'same-origin' });
    isReachable.value = true;
    return answer;
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    isReachable.value = false;
    throw new Problem(0, 'No connection', 'Faultline cannot be reached.');
  }
}

export async function problemOf(answer: Response): Promise<Problem> {
  const text = await answer.text().catch(() => '');
  let said: { title?: unknown; detail?: unknown; pointer?: unknown } = {};
  try {
    said = (JSON.parse(text) as typeof said | null) ?? {};
  } catch {
    // Not JSON: a proxy in between, perhaps. Its text is as good as anything.
    said = { detail: text.trimStart().startsWith('<') ? '' : text.slice(0, 300) };
  }
  const title = typeof said.title === 'string' ? said.title : answer.statusText || `Status ${answer.status}`;
  const detail = typeof said.detail === 'string' ? said.detail : '';
  const pointer = typeof said.pointer === 'string' ? said.pointer : undefined;
  const wait = Number(answer.headers.get('retry-after')) || undefined;
  return new Problem(answer.status, title, detail, pointer, wait);
}

export interface Options {
  query?: Query;
  body?: unknown;
  signal?: AbortSignal;
  /** Statuses that carry an answer though they are no success. */
  accepts?: number[];
  /** A 401 is the answer to a log-in, not the end of a session. */
  isLogin?: boolean;
}

/** One request of the API. */
export async function request<T>(method: string, path: string, options: Options = {}): Promise<T> {
  const more: Record<string, string> = {};
  const init: RequestInit = {};
  if (options.body !== undefined) {
    more['content-type'] = 'application/json';
    init.body = JSON.stringify(options.body);
  }
  if (options.signal) init.signal = options.signal;
  init.headers = headers(method, more);
  const answer = await send(method, address(path, options.query), init);
  if (!answer.ok && !options.accepts?.includes(answer.status)) {
    if (answer.status === 401 && !options.isLogin) unauthorized();
    throw await problemOf(answer);
  }
  if (answer.status === 204 || answer.status === 205) return undefined as T;
  return (await answer.json()) as T;
}

/** Saves an attachment. A link does, except where a bearer token has to be sent along. */
export async function download(path: string, query: Query = {}, name = 'faultline'): Promise<void> {
  const link = document.createElement('a');
  link.download = name;
  if (!bearer()) {
    link.href = address(path, query);
    link.click();
    return;
  }
  const answer = await send('GET', address(path, query), { headers: headers('GET', { accept: '*/*' }) });
  if (!answer.ok) throw await problemOf(answer);
  link.href = URL.createObjectURL(await answer.blob());
  link.click();
  URL.revokeObjectURL(link.href);
}
