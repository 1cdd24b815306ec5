/** Every page at three widths, light and dark: it shows what it is there for, and everybody can read it. */
import AxeBuilder from '@axe-core/playwright';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ask, expect, test, type Fault } from './steps';

const WIDTHS = [
  { width: 390, height: 844 },
  { width: 1280, height: 800 },
  { width: 1920, height: 1080 },
];

/** Each page with what must stand on it. */
const PAGES: [path: string, name: string, words: (string | RegExp)[]][] = [
  ['/', 'overview', ['Overview', 'Components', 'Dynos', 'web.1']],
  ['/faults?service=checkout', 'faults', ['Faults', 'PaymentDeclined']],
  ['/faults/{fault}', 'fault', ['PaymentDeclined', 'Occurrences']],
  ['/events?since=24h&service=checkout', 'events', ['Events', /declined by acquirer/]],
  ['/jobs', 'jobs', ['Jobs', 'dead']],
  ['/jobs/{job}', 'job', ['Request', 'Failures', 'History']],
  ['/rejected', 'rejected', ['Rejected', 'logdrains']],
  ['/health', 'health', ['Health', 'database', 'jira']],
  ['/notifications', 'notifications', ['Notifications']],
  ['/audit?action=job.intend', 'audit', ['Audit trail', 'job.intend']],
  ['/settings', 'settings', ['Settings', 'olga']],
];

for (const size of WIDTHS) {
  for (const colorScheme of ['light', 'dark'] as const) {
    test.describe(`${size.width} px, ${colorScheme}`, () => {
      test.use({ viewport: size, colorScheme });

      test('every page', async ({ page }) => {
        test.setTimeout(120_000);
        const { faults } = await ask<{ faults: Fault[] }>(page, '/api/faults?text=PaymentDeclined');
        const { jobs } = await ask<{ jobs: { id: number }[] }>(page, '/api/jobs?state=dead');
        for (const [pattern, name, words] of PAGES) {
          const path = pattern.replace('{fault}', String(faults[0]?.id)).replace('{job}', String(jobs[0]?.id));
          await page.goto(path);
          for (const word of words) {
            await expect(page.getByText(word).filter({ visible: true }).first(), `${path}: ${String(word)}`).toBeVisible();
          }
          // Charts and lists have their data before the page is judged.
          await expect(page.locator('[aria-busy="true"]')).toHaveCount(0);
          const isTooWide = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
          expect(isTooWide, `${path} scrolls sideways`).toBe(false);
          const { violations } = await new AxeBuilder({ page }).analyze();
          const serious = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
          const found = serious.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`);
          expect(found, path).toEqual([]);
          await keep(page, `${name}-${size.width}-${colorScheme}`);
        }
      });
    });
  }
}

async function keep(page: import('@playwright/test').Page, name: string): Promise<void> {
  const directory = process.env['PAGES'];
  if (!directory) return;
  mkdirSync(directory, { recursive: true });
  await page.screenshot({ path: join(directory, `${name}.png`) });
}

test('text of a log is text, whatever it holds', async ({ page }) => {
  const title = /<img src=/;
  await page.goto('/faults?service=search');
  await expect(page.getByText(title).first()).toBeVisible();
  await page.getByText(title).first().click();
  await expect(page.getByText('<script>alert(1)</script>').first()).toBeVisible();
  await page.goto('/events?service=search&since=24h');
  await page.getByText(title).first().click();
  await expect(page.getByRole('dialog').getByText('<script>').first()).toBeVisible();
  expect(await page.title()).not.toContain('owned');
  expect(await page.locator('img[src="x"]').count()).toBe(0);
});

test('a page whose data cannot be had says so, and tries again', async ({ page }) => {
  let isAway = true;
  await page.route('**/api/faults?*', async (route) => {
    if (!isAway) return route.continue();
    const problem = { title: 'Service Unavailable', status: 503, detail: 'the store does not answer: connection refused' };
    return route.fulfill({ status: 503, contentType: 'application/problem+json', body: JSON.stringify(problem) });
  });
  await page.goto('/faults?service=checkout');
  await expect(page.getByText('the store does not answer').first()).toBeVisible();
  isAway = false;
  await page.getByRole('button', { name: /again|retry/i }).first().click();
  await expect(page.getByText('PaymentDeclined').first()).toBeVisible();
});

test('nothing to show is said, and so is a page that is not there', async ({ page }) => {
  await page.goto('/faults?text=nosuchwordatall');
  await expect(page.getByText('No faults match')).toBeVisible();
  await page.goto('/no/such/page');
  await expect(page.getByText('There is no such page')).toBeVisible();
});

test('without the program the page says that it is not connected, and comes back', async ({ page }) => {
  test.setTimeout(120_000);
  // A stream that is open cannot be cut from here: it is never let through.
  await page.route('**/api/live*', (route) => route.abort());
  await page.goto('/');
  await expect(page.getByText('database')).toBeVisible();
  await page.route(/\/(metrics|api\/)/, (route) => route.abort());
  await expect(page.getByText('Disconnected.')).toBeVisible({ timeout: 60_000 });
  await page.unrouteAll({ behavior: 'wait' });
  await expect(page.getByText('Disconnected.')).toHaveCount(0, { timeout: 60_000 });
  await expect(page.getByText('database')).toBeVisible({ timeout: 60_000 });
});

test('the keyboard is enough', async ({ page }) => {
  await page.goto('/faults?service=checkout');
  await expect(page.getByText('PaymentDeclined').first()).toBeVisible();
  await page.keyboard.press('?');
  await expect(page.getByRole('dialog')).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(page.getByRole('dialog')).toBeHidden();
  await page.keyboard.press('/');
  await page.keyboard.type('PaymentDeclined');
  await expect(page).toHaveURL(/text=PaymentDeclined/);
  await page.keyboard.press('Escape');
  await page.keyboard.press('j');
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(/\/faults\/\d+/);
});
