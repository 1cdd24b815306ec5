/** What the jobs page filters by. */
import type { WhichJobs } from '../../api';

export const USUAL = { state: '', action: '', environment: '', fault: '', key: '', text: '', since: '', until: '' };
export type JobFilters = typeof USUAL;

/** The filters that bulk actions know; `null` where one is set that they do not. */
export function whichOf(filters: JobFilters): WhichJobs | null {
  if (filters.since || filters.until) return null;
  const which: WhichJobs = {};
  for (const key of ['state', 'action', 'environment', 'key', 'text'] as const) {
    if (filters[key]) which[key] = filters[key];
  }
  if (filters.fault) {
    const fault = Number(filters.fault);
    if (!Number.isInteger(fault)) return null;
    which.fault = fault;
  }
  return Object.keys(which).length > 0 ? which : null;
}
