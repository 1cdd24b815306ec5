/** How many notifications nobody has read. */
import { ref } from 'vue';
import { live } from './live';
import { api } from './routes';

export const unread = ref(0);

export async function loadUnread(): Promise<void> {
  try {
    unread.value = (await api.notifications({ unread: 'yes', limit: 1 })).unread;
  } catch {
    // The badge is not worth a message; the page of notifications says what is wrong.
  }
}

live.on('notification', (message) => (unread.value = message.unread));
live.on('gap', () => void loadUnread());
