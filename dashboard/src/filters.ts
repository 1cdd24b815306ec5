/** A page's filters, kept in the URL. */
import { computed, type ComputedRef } from 'vue';
import { useRoute, useRouter } from 'vue-router';
import { decode, encode, type Filters } from './query';

export interface UrlFilters<F extends Filters> {
  filters: ComputedRef<F>;
  set: (change: Partial<F>) => void;
  reset: () => void;
  /** How many are not as usual. */
  changed: ComputedRef<number>;
}

export function useFilters<F extends Filters>(usual: F): UrlFilters<F> {
  const route = useRoute();
  const router = useRouter();
  const path = route.path;
  // While another page is coming, its query is none of ours.
  let last = decode(usual, route.query);
  const filters = computed(() => {
    if (route.path !== path) return last;
    const fresh = decode(usual, route.query);
    const isSame = Object.keys(usual).every((key) => fresh[key] === last[key]);
    return isSame ? last : (last = fresh);
  });
  const set = (change: Partial<F>) =>
    void router.replace({ query: encode(usual, { ...filters.value, ...change } as F) });
  const reset = () => void router.replace({ query: {} });
  const changed = computed(() => Object.keys(encode(usual, filters.value)).length);
  return { filters, set, reset, changed };
}
