/** Light or dark: the system's, unless a person chose. */
import { ref, watch } from 'vue';

export type Theme = 'system' | 'light' | 'dark';
const KEY = 'faultline.theme';

function kept(): Theme {
  const value = localStorage.getItem(KEY);
  return value === 'light' || value === 'dark' ? value : 'system';
}

const system = matchMedia('(prefers-color-scheme: dark)');
export const theme = ref<Theme>(kept());
/** What is shown; charts draw anew when it changes. */
export const isDark = ref(false);

function apply(): void {
  isDark.value = theme.value === 'dark' || (theme.value === 'system' && system.matches);
  document.documentElement.dataset['theme'] = isDark.value ? 'dark' : 'light';
}

system.addEventListener('change', apply);
watch(theme, (value) => {
  localStorage.setItem(KEY, value);
  apply();
});
apply();
