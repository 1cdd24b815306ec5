/** Who may see and do what, and the way in and out. */
import { test as base } from '@playwright/test';
import { confirm, expect, logIn, PASSWORD, test, told } from './steps';

base('nobody gets past the door without the password', async ({ page }) => {
  await page.goto('/jobs?state=dead');
  await expect(page).toHaveURL(/\/login\?next=/);
  await logIn(page, 'vera', 'not the password');
  await expect(page.getByRole('alert')).toBeVisible();
  await expect(page).toHaveURL(/\/login/);
  await page.goto('/jobs?state=dead');
  await page.getByLabel('Name').fill('vera');
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in' }).click();
  await expect(page).toHaveURL(/\/jobs\?state=dead/);
  await page.getByRole('button', { name: /Menu of vera/ }).click();
  await page.getByRole('menuitem', { name: /log out/i }).click();
  await expect(page).toHaveURL(/\/login/);
  await page.goto('/faults');
  await expect(page).toHaveURL(/\/login/);
});

test.describe('a viewer', () => {
  test.use({ person: 'vera' });

  test('looks, and cannot act', async ({ page }) => {
    await page.goto('/faults');
    await expect(page.getByText('PaymentDeclined').first()).toBeVisible();
    await page.getByText('PaymentDeclined').first().click();
    await expect(page.getByRole('button', { name: 'Resolve' })).toBeDisabled();
    const { csrf } = (await (await page.request.get('/api/session')).json()) as { csrf: string };
    const id = page.url().match(/faults\/(\d+)/)?.[1] ?? '';
    const answer = await page.request.post(`/api/faults/${id}/resolve`, { data: {}, headers: { 'x-csrf-token': csrf } });
    expect(answer.status()).toBe(403);
  });
});

test.describe('an admin', () => {
  test.use({ person: 'olga' });

  test('lets others in and out', async ({ page, browser, baseURL }) => {
    await page.goto('/settings?tab=users');
    await page.getByRole('button', { name: 'Add a user' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Name').fill('nina');
    await dialog.getByLabel('Password').fill('short');
    await dialog.getByRole('button', { name: 'Add' }).click();
    await expect(dialog.getByRole('alert')).toBeVisible();
    await dialog.getByLabel('Password').fill('a much longer password');
    await confirm(page, 'Add');
    await told(page, 'nina may log in.');
    const other = await browser.newContext({ storageState: undefined, ...(baseURL ? { baseURL } : {}) });
    const hers = await other.newPage();
    await logIn(hers, 'nina', 'a much longer password');
    await expect(hers.getByRole('heading', { level: 1 })).toHaveText('Overview');
    const row = page.getByRole('row').filter({ hasText: 'nina' });
    await row.getByRole('button', { name: 'Disable' }).click();
    await confirm(page, 'Disable');
    await expect(row.getByText('disabled')).toBeVisible();
    await hers.goto('/faults');
    await expect(hers).toHaveURL(/\/login/);
    await other.close();
    await row.getByRole('button', { name: 'Remove' }).click();
    await confirm(page, 'Remove');
    await expect(row).toHaveCount(0);
  });

  test('makes a token, which is shown once and works', async ({ page, playwright, baseURL }) => {
    await page.goto('/settings?tab=tokens');
    await page.getByRole('button', { name: 'Make a token' }).click();
    await page.getByRole('dialog').getByLabel('Name').fill('grafana');
    await confirm(page, 'Make');
    const token = (await page.getByRole('alert').locator('pre').innerText()).trim();
    expect(token).toMatch(/^flt_/);
    const program = await playwright.request.newContext({
      ...(baseURL ? { baseURL } : {}),
      storageState: { cookies: [], origins: [] },
      extraHTTPHeaders: { authorization: `Bearer ${token}` },
    });
    expect((await program.get('/api/faults')).status()).toBe(200);
    expect((await program.post('/api/dispatch/pause')).status()).toBe(403);
    await page.getByRole('button', { name: 'I have it' }).click();
    await expect(page.getByText(token)).toHaveCount(0);
    await page.getByRole('row').filter({ hasText: 'grafana' }).getByRole('button', { name: 'Remove' }).click();
    await confirm(page, 'Remove');
    await expect.poll(async () => (await program.get('/api/faults')).status()).toBe(401);
    await program.dispose();
  });

  test('sees the configuration without its secrets', async ({ page }) => {
    await page.goto('/settings?tab=config');
    await expect(page.getByText('[jira]')).toBeVisible();
    await expect(page.getByText('secret-token')).toHaveCount(0);
    await expect(page.getByText('"***"').first()).toBeVisible();
  });

  test('reloads the configuration', async ({ page }) => {
    await page.goto('/settings?tab=config');
    await page.getByRole('button', { name: 'Reload' }).click();
    await expect(page.getByText('Nothing has changed')).toBeVisible();
  });

  test('chooses the colours', async ({ page }) => {
    await page.goto('/settings');
    await page.getByRole('button', { name: 'Dark' }).click();
    await expect(page.locator('html')).toHaveAttribute('data-theme', 'dark');
    await page.reload();
    await expect(page.locator('html')).toHaveAttribute('data-theme', 'dark');
  });
});
