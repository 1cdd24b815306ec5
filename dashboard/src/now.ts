/** The time, every ten seconds, for all relative times at once. */
import { ref } from 'vue';

export const now = ref(Date.now());
window.setInterval(() => (now.value = Date.now()), 10_000);
document.addEventListener('visibilitychange', () => (now.value = Date.now()));
