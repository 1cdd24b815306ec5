/** The pages. Each is loaded when it is first opened. */
import { createRouter, createWebHistory, type RouteRecordRaw } from 'vue-router';
import { onUnauthorized } from './request';
import { isIn, loadSession, session } from './session';

declare module 'vue-router' {
  interface RouteMeta {
    title: string;
    /** Nobody needs to be logged in. */
    isOpen?: boolean;
  }
}

const routes: RouteRecordRaw[] = [
  { path: '/', component: () => import('./pages/OverviewPage.vue'), meta: { title: 'Overview' } },
  { path: '/faults', component: () => import('./pages/FaultsPage.vue'), meta: { title: 'Faults' } },
  {
    path: '/faults/:id(\\d+)',
    component: () => import('./pages/FaultPage.vue'),
    props: (route) => ({ id: Number(route.params['id']) }),
    meta: { title: 'Fault' },
  },
  { path: '/events', component: () => import('./pages/EventsPage.vue'), meta: { title: 'Events' } },
  { path: '/jobs', component: () => import('./pages/JobsPage.vue'), meta: { title: 'Jobs' } },
  {
    path: '/jobs/:id(\\d+)',
    component: () => import('./pages/JobPage.vue'),
    props: (route) => ({ id: Number(route.params['id']) }),
    meta: { title: 'Job' },
  },
  { path: '/rejected', component: () => import('./pages/RejectedPage.vue'), meta: { title: 'Rejected' } },
  { path: '/health', component: () => import('./pages/HealthPage.vue'), meta: { title: 'Health' } },
  { path: '/notifications', component: () => import('./pages/NotificationsPage.vue'), meta: { title: 'Notifications' } },
  { path: '/audit', component: () => import('./pages/AuditPage.vue'), meta: { title: 'Audit trail' } },
  { path: '/settings', component: () => import('./pages/SettingsPage.vue'), meta: { title: 'Settings' } },
  { path: '/login', component: () => import('./pages/LoginPage.vue'), meta: { title: 'Log in', isOpen: true } },
  { path: '/setup', component: () => import('./pages/SetupPage.vue'), meta: { title: 'First account', isOpen: true } },
  { path: '/:rest(.*)*', component: () => import('./pages/MissingPage.vue'), meta: { title: 'Not found' } },
];

export const router = createRouter({
  history: createWebHistory(),
  routes,
  scrollBehavior(to, from, saved) {
    // A change of filters leaves the page where it is.
    return saved ?? (to.path === from.path ? undefined : { top: 0 });
  },
});

// Asked for at once, while the page's own code is on its way.
const first = loadSession();

router.beforeEach(async (to) => {
  await first;
  if (to.meta.isOpen || isIn.value || !session.value) return true;
  if (session.value.needs_setup) return { path: '/setup' };
  return { path: '/login', query: to.fullPath === '/' ? {} : { next: to.fullPath } };
});

router.afterEach((to) => {
  document.title = `${to.meta.title} · Faultline`;
});

onUnauthorized(() => {
  const { path, meta, fullPath } = router.currentRoute.value;
  if (meta.isOpen) return;
  void loadSession().then(() => {
    if (!isIn.value && router.currentRoute.value.path === path) {
      void router.replace({ path: '/login', query: { next: fullPath } });
    }
  });
});
