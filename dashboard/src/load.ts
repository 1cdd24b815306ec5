/** Loading: one thing that is kept fresh, and lists by cursor. */
import { onScopeDispose, ref, shallowRef, triggerRef, watch, type Ref, type ShallowRef } from 'vue';
import type { Page } from './api';
import { live } from './live';
import { Problem } from './request';

export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  return new Problem(0, 'Something went wrong', error instanceof Error ? error.message : String(error));
}

const isAbort = (error: unknown) => error instanceof DOMException && error.name === 'AbortError';

export interface Loaded<T> {
  data: ShallowRef<T | null>;
  problem: ShallowRef<Problem | null>;
  isLoading: Ref<boolean>;
  load: () => Promise<void>;
}

/** Loads now, then every so many milliseconds while the page is seen, and after a gap in the stream. */
export function useLoad<T>(get: () => Promise<T>, every = 0): Loaded<T> {
  const data = shallowRef<T | null>(null);
  const problem = shallowRef<Problem | null>(null);
  const isLoading = ref(false);
  let number = 0;
  async function load(): Promise<void> {
    const mine = ++number;
    isLoading.value = true;
    try {
      const loaded = await get();
      if (mine !== number) return;
      data.value = loaded;
      problem.value = null;
    } catch (error) {
      if (mine === number && !isAbort(error)) problem.value = asProblem(error);
    } finally {
      if (mine === number) isLoading.value = false;
    }
  }
  void load();
  useInterval(() => void (isLoading.value || load()), every);
  onScopeDispose(live.on('gap', () => void load()));
  onScopeDispose(() => (number = -1));
  return { data, problem, isLoading, load };
}

/** Calls while the page is seen. */
export function useInterval(call: () => void, every: number): void {
  if (every <= 0) return;
  const timer = window.setInterval(() => document.hidden || call(), every);
  const seen = () => document.hidden || call();
  document.addEventListener('visibilitychange', seen);
  onScopeDispose(() => {
    clearInterval(timer);
    document.removeEventListener('visibilitychange', seen);
  });
}

export interface List<T> {
  rows: ShallowRef<T[]>;
  problem: ShallowRef<Problem | null>;
  isLoading: Ref<boolean>;
  /** There are more rows. */
  hasMore: Ref<boolean>;
  searchedUntil: Ref<string | null>;
  /** Rows were put in or changed from outside. */
  touch: () => void;
  reload: () => Promise<void>;
  more: () => Promise<void>;
}

/** A search that is answered before it has come to an end goes on by itself, until it has found so much. */
const ENOUGH = 20;
/** ... or was answered so often; people go on from there. */
const GOES_ON = 40;

/** A list by cursor that begins anew when `key` changes. */
export function useList<T>(get: (cursor: string | null, signal: AbortSignal) => Promise<Page<T>>, key: () => unknown): List<T> {
  const rows: ShallowRef<T[]> = shallowRef([]);
  const problem = shallowRef<Problem | null>(null);
  const isLoading = ref(false);
  const hasMore = ref(false);
  const searchedUntil = ref<string | null>(null);
  let next: string | null = null;
  let isFirstPage = true;
  let abort = new AbortController();

  async function fetchPage(cursor: string | null): Promise<void> {
    abort.abort();
    const mine = (abort = new AbortController());
    isLoading.value = true;
    try {
      let from = cursor;
      let found = 0;
      for (let asked = 1; asked <= GOES_ON; asked += 1) {
        const page = await get(from, mine.signal);
        if (mine.signal.aborted) return;
        rows.value = from === null ? page.rows : rows.value.concat(page.rows);
        next = from = page.next;
        hasMore.value = page.next !== null;
        searchedUntil.value = page.searched_until ?? null;
        found += page.rows.length;
        if (!page.searched_until || page.next === null || found >= ENOUGH) break;
      }
      isFirstPage = cursor === null;
      problem.value = null;
    } catch (error) {
      if (!mine.signal.aborted) problem.value = asProblem(error);
    } finally {
      if (abort === mine) isLoading.value = false;
    }
  }

  const reload = () => fetchPage(null);
  async function more(): Promise<void> {
    if (next !== null && !isLoading.value && !problem.value) await fetchPage(next);
  }
  async function restart(): Promise<void> {
    rows.value = [];
    next = null;
    hasMore.value = false;
    await reload();
  }
  watch(key, () => void restart(), { immediate: true });
  // Who has scrolled on is not thrown back to the first page.
  onScopeDispose(live.on('gap', () => void (isFirstPage && !isLoading.value && reload())));
  onScopeDispose(() => abort.abort());
  return { rows, problem, isLoading, hasMore, searchedUntil, touch: () => triggerRef(rows), reload, more };
}
