/** What people do with faults. */
import { ask, confirm, expect, newFault, newIssue, report, test, ticketOf, told, type Fault } from './steps';

test.use({ person: 'otto' });

test('filters are in the address', async ({ page }) => {
  await page.goto('/faults');
  await page.getByLabel('Environment').selectOption('staging');
  await expect(page).toHaveURL(/environment=staging/);
  await page.getByLabel('Service').selectOption('checkout');
  await expect(page.getByText('PaymentDeclined').first()).toBeVisible();
  await page.reload();
  await expect(page.getByLabel('Environment')).toHaveValue('staging');
  await page.getByRole('button', { name: 'Reset' }).click();
  await expect(page).not.toHaveURL(/environment=/);
  await page.getByRole('columnheader', { name: /Events/ }).getByRole('button').click();
  await expect(page).toHaveURL(/sort=count/);
});

test('a fault is resolved, comes back, is muted and unmuted', async ({ page }) => {
  const message = 'the lamp went out in room wolfram';
  const fault = await newFault(page, message);
  await ticketOf(page, fault.id);
  await page.goto(`/faults/${fault.id}`);
  await page.getByRole('button', { name: 'Resolve' }).click();
  await page.getByRole('dialog').getByLabel(/Comment/).fill('a new bulb');
  await confirm(page, 'Resolve');
  await told(page, /Resolved fault/);
  await expect(page.getByRole('button', { name: 'Reopen' })).toBeVisible();
  await page.getByRole('button', { name: 'Reopen' }).click();
  await expect(page.getByRole('button', { name: 'Resolve' })).toBeVisible();
  await page.getByRole('button', { name: 'Mute' }).click();
  await page.getByRole('dialog').getByLabel(/For/).selectOption('24h');
  await confirm(page, 'Mute');
  await expect(page.getByText(/until/).first()).toBeVisible();
  await page.getByRole('button', { name: 'Unmute' }).click();
  await expect(page.getByRole('button', { name: /^Mute/ })).toBeVisible();
  await page.getByRole('tab', { name: 'History' }).click();
  for (const action of ['fault.resolve', 'fault.reopen', 'fault.mute', 'fault.unmute']) {
    await expect(page.getByText(action).first()).toBeVisible();
  }
  await expect(page.getByText('otto').first()).toBeVisible();
});

test('faults are merged and split again', async ({ page }) => {
  const one = await newFault(page, 'pump stands still in basement xenon');
  const other = await newFault(page, 'valve leaks badly near entrance krypton');
  await page.goto(`/faults/${other.id}`);
  await page.getByRole('button', { name: 'Merge into' }).click();
  await page.getByRole('dialog').getByLabel(/Number/).fill(String(one.id));
  await confirm(page, 'Merge');
  await expect(page).toHaveURL(new RegExp(`/faults/${one.id}`));
  await page.getByRole('tab', { name: 'Shapes (2)' }).click();
  await page.getByRole('button', { name: 'Split off' }).last().click();
  await confirm(page, 'Split off');
  await told(page, /It is fault \d+ now/);
});

test('several are resolved at once', async ({ page }) => {
  await newFault(page, 'bulk of trouble number argon');
  await newFault(page, 'another kind of bother called helium');
  await page.goto('/faults?service=specs');
  for (const word of ['argon', 'helium']) {
    await page.getByRole('row').filter({ hasText: word }).getByRole('checkbox').check();
  }
  await page.getByRole('toolbar', { name: 'Selected faults' }).getByRole('button', { name: 'Resolve' }).click();
  await confirm(page, 'Resolve');
  await told(page, /Resolved 2 faults/);
  await expect(page.getByRole('row').filter({ hasText: 'argon' })).toHaveCount(0);
});

test('a name is pinned', async ({ page }) => {
  const fault = await newFault(page, 'the printer is on fire again neon');
  await page.goto(`/faults/${fault.id}`);
  await page.getByRole('button', { name: 'Pin a name' }).click();
  await page.getByRole('dialog').getByLabel(/Fingerprint/).fill('printer-on-fire');
  await confirm(page, 'Pin');
  await told(page, /belong here now/);
  await report({ service: 'specs', environment: 'production', message: 'smoke everywhere', fingerprint: 'printer-on-fire' });
  await expect
    .poll(async () => (await ask<{ fault: { count: number } }>(page, `/api/faults/${fault.id}`)).fault.count)
    .toBe(2);
});

test('a ticket is made and another linked', async ({ page }) => {
  // Rules let faults of this service be.
  const fault = await newFault(page, 'nobody cares about radon', { service: 'noise' });
  await page.goto(`/faults/${fault.id}`);
  await page.getByRole('button', { name: 'Create ticket' }).click();
  await page.getByRole('dialog').getByLabel(/Summary/).fill('Somebody cares after all');
  await confirm(page, 'Create');
  await told(page, /makes the ticket/);
  const key = await ticketOf(page, fault.id);
  await expect(page.getByText(key).first()).toBeVisible();

  const second = await newFault(page, 'nobody cares about thorium either', { service: 'noise' });
  await page.goto(`/faults/${second.id}`);
  await page.getByRole('button', { name: 'Link ticket' }).click();
  await page.getByRole('dialog').getByLabel(/key/).fill('OPS-99999');
  await page.getByRole('dialog').getByRole('button', { name: 'Link' }).click();
  await expect(page.getByRole('dialog').getByRole('alert')).toContainText('OPS-99999');
  const theirs = await newIssue('Thorium is not our business');
  await page.getByRole('dialog').getByLabel(/key/).fill(theirs);
  await confirm(page, 'Link');
  expect(await ticketOf(page, second.id)).toBe(theirs);
  await expect(page.getByText(theirs).first()).toBeVisible();
});

test('a ticket by hand is a fault of its own', async ({ page }) => {
  await page.goto('/faults');
  await page.getByRole('button', { name: 'Ticket by hand' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Service').fill('front desk');
  await dialog.getByLabel('Title').fill('The bell does not ring');
  await confirm(page, 'Create');
  await expect(page).toHaveURL(/\/faults\/\d+/);
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('The bell does not ring');
  const id = Number(page.url().split('/').pop());
  const key = await ticketOf(page, id);
  await expect(page.getByText(key).first()).toBeVisible();
});

test('what others do shows by itself', async ({ page }) => {
  const fault = await newFault(page, 'the tide comes in at bay selenium');
  await page.goto(`/faults/${fault.id}`);
  await expect(page.getByText('1', { exact: true }).first()).toBeVisible();
  await report(...Array.from({ length: 6 }, () => ({ service: 'specs', environment: 'production', message: 'the tide comes in at bay selenium' })));
  await expect(page.locator('dd').filter({ hasText: /^7$/ }).first()).toBeVisible();
  const { faults } = await ask<{ faults: Fault[] }>(page, '/api/faults?text=selenium');
  expect(faults).toHaveLength(1);
});
