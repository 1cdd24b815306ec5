/** Keyboard: `/` `j` `k` `?` and where to go with `g`. */
import { onScopeDispose, ref } from 'vue';

export const isHelpShown = ref(false);

type Handler = (event: KeyboardEvent) => void;
const handlers = new Map<string, Handler[]>();

/** The page's keys, for as long as the component is there; the last one to ask wins. */
export function useKeys(keys: Record<string, Handler>): void {
  for (const [key, handler] of Object.entries(keys)) {
    handlers.set(key, [...(handlers.get(key) ?? []), handler]);
  }
  onScopeDispose(() => {
    for (const [key, handler] of Object.entries(keys)) {
      handlers.set(key, (handlers.get(key) ?? []).filter((other) => other !== handler));
    }
  });
}

const isTyping = (target: EventTarget | null) =>
  target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));

let prefix = '';

function pressed(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (isTyping(event.target)) {
    if (event.key === 'Escape') (event.target as HTMLElement).blur();
    // A checkbox takes no text, so that j and k go on from there.
    if (!(event.target instanceof HTMLInputElement && event.target.type === 'checkbox')) return;
  }
  // A dialog has the keyboard for itself.
  if (document.querySelector('[role=dialog],[role=alertdialog],[role=menu]')) return;
  const key = prefix ? `${prefix} ${event.key}` : event.key;
  prefix = '';
  const handler = handlers.get(key)?.at(-1);
  if (handler) {
    event.preventDefault();
    handler(event);
  } else if (event.key === 'g') {
    prefix = 'g';
    window.setTimeout(() => (prefix = ''), 1500);
  }
}

export function startKeys(): void {
  document.addEventListener('keydown', pressed);
  const isOn = { '/': focusSearch, '?': () => (isHelpShown.value = true) };
  for (const [key, handler] of Object.entries(isOn)) handlers.set(key, [handler]);
}

function focusSearch(): void {
  const search = document.querySelector<HTMLInputElement>('main input[type=search]');
  search?.focus();
  search?.select();
}
