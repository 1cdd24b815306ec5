/** What people are asked before they act on faults. */
import type { Fault } from '../../api';
import { SEVERITIES } from '../../hues';
import { ask, note } from '../../notes';
import { api } from '../../routes';

export const SPANS = [
  { value: '1h', label: 'an hour' },
  { value: '24h', label: 'a day' },
  { value: '7d', label: 'a week' },
  { value: '30d', label: '30 days' },
  { value: '', label: 'for ever' },
];

type Done = () => void;
const named = (faults: Fault[]) => (faults.length === 1 ? `fault ${faults[0]?.id}` : `${faults.length} faults`);

/** One after another: each is an entry of its own in the audit trail. Says how far it came when one fails. */
async function each(faults: Fault[], act: (fault: Fault) => Promise<unknown>): Promise<void> {
  let acted = 0;
  try {
    for (const fault of faults) {
      await act(fault);
      acted += 1;
    }
  } catch (error) {
    if (acted > 0) note(`${acted} of ${faults.length} were done before one failed.`, true);
    throw error;
  }
}

export function askToResolve(faults: Fault[], done: Done): void {
  ask({
    title: `Resolve ${named(faults)}`,
    text: 'It opens again by itself when it happens again.',
    verb: 'Resolve',
    fields: [{ name: 'comment', label: 'Comment', kind: 'area' }],
    run: async ({ comment }) => {
      await each(faults, (fault) => api.resolve(fault.id, comment));
      note(`Resolved ${named(faults)}.`);
      done();
    },
  });
}

export function askToMute(faults: Fault[], done: Done): void {
  ask({
    title: `Mute ${named(faults)}`,
    text: 'A muted fault is counted, but nothing is done about it.',
    verb: 'Mute',
    fields: [{ name: 'span', label: 'For', kind: 'select', options: SPANS, value: '7d', isRequired: true }],
    run: async ({ span }) => {
      await each(faults, (fault) => api.mute(fault.id, span));
      note(`Muted ${named(faults)}.`);
      done();
    },
  });
}

/** Several faults become one: the one with the lowest number is proposed, for it is the oldest. */
export function askToMerge(faults: Fault[], done: (into: number) => void): void {
  const ids = faults.map((fault) => fault.id).sort((a, b) => a - b);
  const isOne = faults.length === 1;
  ask({
    title: isOne ? `Merge ${named(faults)} into another` : `Merge ${named(faults)}`,
    text: 'Their events are counted together from now on, and also messages like them.',
    verb: 'Merge',
    fields: [{ name: 'into', label: 'Number of the fault that remains', value: isOne ? '' : String(ids[0] ?? ''), isRequired: true }],
    run: async (values) => {
      const into = Number((values['into'] ?? '').replace('#', '').trim());
      if (!Number.isInteger(into) || into <= 0) throw new Error('A fault’s number is needed, such as 17.');
      const others = faults.filter((fault) => fault.id !== into);
      if (others.length === 0) throw new Error('A fault cannot be merged into itself.');
      await each(others, (fault) => api.merge(fault.id, into));
      note(`Merged into fault ${into}.`);
      done(into);
    },
  });
}

type Facets = { environments: string[]; services: string[] } | null;

/** A ticket by hand: what nobody has logged. */
export function askForTicket(facets: Facets, done: (fault: number) => void): void {
  const first = facets?.environments[0] ?? 'production';
  ask({
    title: 'A ticket by hand',
    text: 'For what nobody has logged. It becomes a fault of its own, with its ticket.',
    verb: 'Create',
    fields: [
      { name: 'environment', label: 'Environment', value: first, isRequired: true },
      { name: 'service', label: 'Service', isRequired: true },
      { name: 'title', label: 'Title', isRequired: true },
      { name: 'description', label: 'Description', kind: 'area' },
      { name: 'severity', label: 'Severity', kind: 'select', value: 'error', options: SEVERITIES.map((value) => ({ value, label: value })) },
      { name: 'project', label: 'Project', hint: 'As the rules say, when empty.' },
      { name: 'issue_type', label: 'Type' },
      { name: 'priority', label: 'Priority' },
    ],
    run: async (values) => {
      const { environment = '', service = '', title = '', ...others } = values;
      const made = await api.ticketByHand({ environment, service, title, ...filled(others) });
      note(`Fault ${made.fault} is made; job ${made.job} makes its ticket.`);
      done(made.fault);
    },
  });
}

/** Only what was filled in. */
export function filled(values: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value.trim() !== ''));
}
