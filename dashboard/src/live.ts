/** The live stream: one for the whole page, read with fetch so that it can be resumed and carry a token. */
import { computed, onScopeDispose, ref, shallowRef } from 'vue';
import type { Event, Fault, Health, Job, Query, Throughput } from './api';
import { address, headers, isReachable, Problem, problemOf, send } from './request';
import { Parser } from './sse';

/** The messages there are, by name. */
export interface Messages {
  fault: Fault;
  job: Job;
  health: Health;
  throughput: Throughput;
  notification: { unread: number };
  event: Event;
  skipped: { events: number };
  /** Too much was missed: load anew. */
  gap: unknown;
}

type Name = keyof Messages;
type Listener = (data: never) => void;
export type LinkState = 'connecting' | 'open' | 'lost';

const FIRST_WAIT = 1000;
const LONGEST_WAIT = 15_000;
/** The server says something at least every 15 s. */
const SILENCE = 40_000;

/** One stream: connects, resumes, and waits longer after each failure. */
export class Stream {
  readonly state = ref<LinkState>('connecting');
  readonly problem = shallowRef<Problem | null>(null);
  private readonly listeners = new Map<string, Set<Listener>>();
  private abort: AbortController | null = null;
  private lastId: string | null = null;
  private wait = FIRST_WAIT;
  private timer = 0;

  constructor(private query: Query) {}

  on<N extends Name>(name: N, listener: (data: Messages[N]) => void): () => void {
    const all = this.listeners.get(name) ?? new Set();
    this.listeners.set(name, all);
    all.add(listener as Listener);
    return () => all.delete(listener as Listener);
  }

  open(): void {
    if (this.abort) return;
    clearTimeout(this.timer);
    void this.read((this.abort = new AbortController()));
  }

  close(): void {
    clearTimeout(this.timer);
    this.abort?.abort();
    this.abort = null;
  }

  /** Another question: begins anew. */
  ask(query: Query): void {
    this.close();
    this.query = query;
    this.lastId = null;
    this.open();
  }

  private async read(abort: AbortController): Promise<void> {
    let silence = 0;
    const heard = () => {
      clearTimeout(silence);
      silence = window.setTimeout(() => abort.abort(), SILENCE);
    };
    try {
      this.problem.value = null;
      heard();
      const more: Record<string, string> = { accept: 'text/event-stream' };
      if (this.lastId) more['last-event-id'] = this.lastId;
      const init = { headers: headers('GET', more), signal: abort.signal, cache: 'no-store' as const };
      const answer = await send('GET', address('/api/live', this.query), init);
      if (!answer.ok || !answer.body) throw await problemOf(answer);
      const isAgain = this.state.value === 'lost' && !this.lastId;
      this.state.value = 'open';
      this.wait = FIRST_WAIT;
      if (isAgain) this.tell('gap', {});
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      const parser = new Parser();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        heard();
        for (const message of parser.push(value)) {
          if (message.id) this.lastId = message.id;
          this.tell(message.event, JSON.parse(message.data) as unknown);
        }
      }
    } catch (error) {
      if (error instanceof Problem) this.problem.value = error;
    } finally {
      clearTimeout(silence);
      if (this.abort === abort) this.again();
    }
  }

  private again(): void {
    this.abort = null;
    this.state.value = 'lost';
    const said = (this.problem.value?.retryAfter ?? 0) * 1000;
    this.timer = window.setTimeout(() => this.open(), Math.max(said, this.wait * (0.75 + Math.random() / 2)));
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
  }

  private tell(name: string, data: unknown): void {
    for (const listener of this.listeners.get(name) ?? []) (listener as (data: unknown) => void)(data);
  }
}

/** What every page listens to. */
export const live = new Stream({ topics: 'faults,jobs,health,throughput,notifications' });

/** Neither the stream nor requests get through. */
export const isDisconnected = computed(() => live.state.value === 'lost' && !isReachable.value);

/** Listens for as long as the component is there. */
export function useLive<N extends Name>(name: N, listener: (data: Messages[N]) => void): void {
  onScopeDispose(live.on(name, listener));
}

/** A browser has only six connections to a host: a page that nobody sees takes none. */
const HIDDEN_FOR = 60_000;
let hidden = 0;

export function startLive(): void {
  live.open();
  document.addEventListener('visibilitychange', () => {
    clearTimeout(hidden);
    if (document.hidden) hidden = window.setTimeout(() => live.close(), HIDDEN_FOR);
    else live.open();
  });
}
