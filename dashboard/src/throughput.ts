/** The last quarter of an hour of throughput: from memory, then from the stream. */
import { onScopeDispose, shallowRef } from 'vue';
import type { Throughput } from './api';
import { live, useLive } from './live';
import { asProblem, useInterval } from './load';
import type { Problem } from './request';
import { api } from './routes';

/** As many as the server keeps: 15 minutes, one every 5 seconds. */
const KEPT = 180;
const POLL = 10_000;

export function useThroughput() {
  const samples = shallowRef<Throughput[]>([]);
  const problem = shallowRef<Problem | null>(null);
  const isLoading = shallowRef(true);

  function add(fresh: Throughput[]): void {
    const last = samples.value.at(-1)?.at ?? '';
    const newer = fresh.filter((sample) => sample.at > last);
    if (newer.length > 0) samples.value = samples.value.concat(newer).slice(-KEPT);
  }

  async function load(): Promise<void> {
    try {
      const since = samples.value.at(-1)?.at;
      add((await api.throughput(since ? { since } : {})).samples);
      problem.value = null;
    } catch (error) {
      problem.value = asProblem(error);
    } finally {
      isLoading.value = false;
    }
  }

  void load();
  useLive('throughput', (sample) => add([sample]));
  useInterval(() => void (live.state.value === 'open' || load()), POLL);
  onScopeDispose(live.on('gap', () => void load()));
  return { samples, problem, isLoading, load };
}
