import { defineConfig } from '@playwright/test';

export default defineConfig({
  testDir: 'tests',
  retries: 0,
  workers: 1,
  reporter: 'line',
  // The machine may have other things to do.
  timeout: 60_000,
  // Below the patience of tests/dashboard.rs: whatever takes so long is named.
  globalTimeout: 17 * 60_000,
  expect: { timeout: 15_000 },
  use: {
    baseURL: process.env['DASHBOARD_URL'] ?? 'http://127.0.0.1:4000',
    launchOptions: {
      executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
      args: ['--no-sandbox'],
    },
  },
});
