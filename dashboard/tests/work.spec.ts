/** Events, jobs, rejected messages and what else people look after. */
import { ask, confirm, expect, report, test, told } from './steps';

test.use({ person: 'otto' });

test('events are searched, opened and taken along', async ({ page }) => {
  await page.goto('/events?since=24h');
  await page.getByRole('searchbox', { name: 'Search' }).fill('"slow query"');
  await expect(page).toHaveURL(/text=/);
  await expect(page.getByText(/slow query/).first()).toBeVisible();
  await page.getByText(/slow query/).first().click();
  await expect(page.getByRole('dialog')).toContainText('id=req-');
  await page.keyboard.press('Escape');
  const waits = page.waitForEvent('download');
  await page.getByRole('button', { name: 'CSV' }).click();
  const file = await waits;
  expect(file.suggestedFilename()).toMatch(/\.csv$/);
  const stream = await file.createReadStream();
  let text = '';
  for await (const chunk of stream) text += String(chunk);
  expect(text.split('\n').length).toBeGreaterThan(20);
  expect(text).toContain('slow query');
});

test('a search that is answered half-way goes on by itself', async ({ page }) => {
  const { events } = await ask<{ events: object[] }>(page, '/api/events?limit=1');
  const searched_until = '2026-11-21T00:00:00Z';
  const cursors: (string | null)[] = [];
  await page.route('**/api/events?*', async (route) => {
    const cursor = new URL(route.request().url()).searchParams.get('cursor');
    cursors.push(cursor);
    const answers: Record<string, object> = {
      '': { events: [], next: 'a', searched_until },
      a: { events: [], next: 'b', searched_until },
      b: { events, next: null, searched_until: null },
    };
    await route.fulfill({ contentType: 'application/json', body: JSON.stringify(answers[cursor ?? '']) });
  });
  await page.goto('/events?text=needle');
  await expect(page.getByRole('table', { name: 'Events' }).getByRole('row')).toHaveCount(2);
  expect(cursors).toEqual([null, 'a', 'b']);
});

test('the tail shows events as they come, and waits when told', async ({ page }) => {
  await page.goto('/events?tail=on&service=tail');
  await expect(page.getByText('Listening')).toBeVisible();
  await report({ service: 'tail', message: 'first of the tail' });
  await expect(page.getByText('first of the tail').first()).toBeVisible();
  await page.getByRole('button', { name: 'Pause' }).click();
  await report({ service: 'tail', message: 'second of the tail' });
  await expect(page.getByText(/Paused, 1 waiting/)).toBeVisible();
  await expect(page.getByText('second of the tail')).toHaveCount(0);
  await page.getByRole('button', { name: 'Go on' }).click();
  await expect(page.getByText('second of the tail').first()).toBeVisible();
});

test('a dead job is looked into, mended and done', async ({ page }) => {
  await page.goto('/jobs?state=dead');
  await page.getByRole('link', { name: /invoice/ }).first().click();
  await expect(page.getByText(/NOWHERE/).first()).toBeVisible();
  await expect(page.getByRole('heading', { name: 'Failures' })).toBeVisible();
  await page.getByRole('button', { name: 'Edit and retry' }).click();
  const area = page.getByRole('dialog').getByLabel(/Request/);
  await area.fill((await area.inputValue()).replaceAll('NOWHERE', 'OPS'));
  await confirm(page, 'Save and retry');
  await expect(page.getByText('completed').first()).toBeVisible();
  await expect(page.getByText(/OPS-\d+/).first()).toBeVisible();
});

test('jobs are retried and discarded, the number first', async ({ page }) => {
  await page.goto('/jobs?state=dead');
  const { count } = await (async () => {
    const { jobs } = await ask<{ jobs: unknown[] }>(page, '/api/jobs?state=dead&limit=1000');
    return { count: jobs.length };
  })();
  expect(count).toBeGreaterThan(0);
  await page.getByRole('button', { name: 'Discard all' }).click();
  await expect(page.getByRole('dialog')).toContainText(`Discard ${count} job`);
  await confirm(page, `Discard ${count}`);
  await told(page, /discarded/);
  await page.goto('/jobs?state=discarded');
  await page.getByRole('checkbox', { name: /^Select job/ }).first().check();
  await page.getByRole('toolbar', { name: 'Selected jobs' }).getByRole('button', { name: 'Retry' }).click();
  await confirm(page, 'Retry 1');
  await told(page, /waits? again/);
});

test('dispatch is paused and goes on', async ({ page }) => {
  await page.goto('/jobs');
  await page.getByRole('button', { name: 'Pause' }).click();
  await confirm(page, 'Pause');
  await expect(page.getByText('dispatch is paused', { exact: true })).toBeVisible();
  await page.getByRole('button', { name: 'Resume' }).click();
  await confirm(page, 'Resume');
  await expect(page.getByText('dispatch is on', { exact: true })).toBeVisible();
  // Both are told to everybody.
  await page.goto('/notifications');
  await expect(page.getByText(/paused/i).first()).toBeVisible();
  await page.getByRole('button', { name: 'Mark all as read' }).click();
  await expect(page.getByText('0 unread')).toBeVisible();
});

test('a rejected message is looked at, byte by byte, and replayed', async ({ page }) => {
  await page.goto('/rejected');
  const row = page.getByRole('row').filter({ hasText: 'no priority' }).first();
  await row.getByRole('button').first().click();
  const drawer = page.getByRole('dialog');
  await expect(drawer).toContainText('no priority, no time, no sense');
  await drawer.getByRole('button', { name: 'Hex', exact: true }).click();
  await expect(drawer).toContainText('6e 6f 20');
  const waits = page.waitForEvent('download');
  await drawer.getByRole('button', { name: 'Bytes', exact: true }).click();
  expect((await waits).suggestedFilename()).toMatch(/rejected/);
  await drawer.getByRole('button', { name: 'Replay', exact: true }).click();
  await told(page, 'Replayed.');
});

test('the audit trail is filtered and taken along', async ({ page }) => {
  await page.goto('/audit?action=job.intend');
  await expect(page.getByText('job.intend').first()).toBeVisible();
  await page.getByText('job.intend').first().click();
  await expect(page.getByRole('dialog')).toContainText('Details');
  await page.keyboard.press('Escape');
  const waits = page.waitForEvent('download');
  await page.getByRole('button', { name: 'NDJSON' }).click();
  const stream = await (await waits).createReadStream();
  let text = '';
  for await (const chunk of stream) text += String(chunk);
  const entries = text.trim().split('\n').map((line) => JSON.parse(line) as { action: string });
  expect(entries.length).toBeGreaterThan(3);
  expect(new Set(entries.map(({ action }) => action))).toEqual(new Set(['job.intend']));
});

test('health says how each part and each partner does', async ({ page }) => {
  await page.goto('/health');
  for (const word of ['database', 'spool', 'jira', 'application']) {
    await expect(page.getByText(word, { exact: false }).first()).toBeVisible();
  }
  await expect(page.getByText(/100 ?%|99\.\d+ ?%|\d+(\.\d+)? ?%/).first()).toBeVisible();
});
