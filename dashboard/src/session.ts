/** Who is here, and what they may do. */
import { computed, ref, shallowRef } from 'vue';
import type { Role, Session } from './api';
import { api } from './routes';
import { bearer, keepBearer, Problem, useSession as useCsrf } from './request';

export const session = shallowRef<Session | null>(null);
/** The session could not be asked for. */
export const sessionProblem = ref<string | null>(null);

const RANK: Record<Role, number> = { viewer: 1, operator: 2, admin: 3 };

export function enter(fresh: Session): void {
  session.value = fresh;
  useCsrf(fresh);
}

export async function loadSession(): Promise<void> {
  try {
    enter(await current());
    sessionProblem.value = null;
  } catch (error) {
    sessionProblem.value = error instanceof Error ? error.message : String(error);
  }
}

async function current(): Promise<Session> {
  try {
    return await api.session();
  } catch (error) {
    if (!(error instanceof Problem && error.status === 401 && bearer())) throw error;
    // The token has expired or was removed: without it one may log in again.
    keepBearer(null);
    return api.session();
  }
}

export async function leave(): Promise<void> {
  if (session.value?.kind === 'user') await api.logout();
  keepBearer(null);
  await loadSession();
}

export const isIn = computed(() => session.value?.role != null);

export function has(role: Role): boolean {
  const own = session.value?.role;
  return own != null && RANK[own] >= RANK[role];
}

/** Why an action is not possible, or `null`. */
export function refusal(role: Role): string | null {
  if (!has(role)) return `This needs the role “${role}”; yours is “${session.value?.role ?? 'none'}”.`;
  if (session.value?.read_only) return 'Faultline is in read-only mode: nothing can be changed.';
  return null;
}
