/** The colour of each word that states, severities and outcomes go by. */
const HUES: Record<string, string[]> = {
  green: ['healthy', 'completed', 'resolved', 'closed', 'live', 'replayed', 'active token'],
  red: ['P0', 'P1', 'unhealthy', 'dead', 'critical', 'emergency', 'alert', 'error', 'open breaker', 'disabled', 'expired'],
  orange: ['P2', 'degraded', 'warning', 'warn', 'unknown', 'open', 'half-open', 'delayed'],
  blue: ['P3', 'active', 'notice', 'operator', 'info'],
  purple: ['merged', 'admin', 'dry run'],
  teal: ['waiting', 'change', 'object', 'metrics'],
};

const BY_WORD = new Map(Object.entries(HUES).flatMap(([hue, words]) => words.map((word) => [word, hue] as const)));

export function hueOf(word: string): string {
  return BY_WORD.get(word) ?? 'grey';
}

/** Worst first, as the API orders them. */
export const SEVERITIES = ['emergency', 'alert', 'critical', 'error', 'warning', 'notice', 'info', 'debug'];
export const KINDS = ['log', 'router', 'platform', 'change', 'error', 'object'];
export const SOURCES = ['logdrains', 'errors', 'maxwell', 'bucket'];
