/** Short notes at the page's edge, and questions in a dialog. */
import { ref, shallowRef } from 'vue';

export interface Note {
  id: number;
  text: string;
  isError: boolean;
}

export const notes = ref<Note[]>([]);
const SHOWN = 6000;
let number = 0;

export function note(text: string, isError = false): void {
  const id = ++number;
  notes.value = [...notes.value.slice(-3), { id, text, isError }];
  window.setTimeout(() => dismiss(id), isError ? SHOWN * 2 : SHOWN);
}

export function dismiss(id: number): void {
  notes.value = notes.value.filter((one) => one.id !== id);
}

export interface Field {
  name: string;
  label: string;
  kind?: 'text' | 'area' | 'select' | 'password' | 'code';
  value?: string;
  options?: { value: string; label: string }[];
  hint?: string;
  isRequired?: boolean;
  autocomplete?: string;
}

export interface Question {
  title: string;
  text?: string;
  /** The button's word. */
  verb: string;
  isDangerous?: boolean;
  fields?: Field[];
  /** Does it; the dialog stays open with the problem when that fails. */
  run: (values: Record<string, string>) => Promise<void>;
}

export const question = shallowRef<Question | null>(null);

export function ask(asked: Question): void {
  question.value = asked;
}
