import type { Column } from '../../components/VirtualList.vue';

export const EVENT_COLUMNS: Column[] = [
  { key: 'at', label: 'Occurred', width: '184px' },
  { key: 'severity', label: 'Severity', width: '86px' },
  { key: 'service', label: 'Service', width: '150px' },
  { key: 'message', label: 'Message', width: 'minmax(0, 1fr)' },
];
