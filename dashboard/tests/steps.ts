/** What the specs share: who is logged in, and the program from its other side. */
import { expect, test as base, type Page } from '@playwright/test';
import { existsSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const PASSWORD = env('FAULTLINE_PASSWORD');
const RECEIVER = env('FAULTLINE_RECEIVER');

function env(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run \`cargo test --test dashboard\`, which starts what is needed`);
  return value;
}

/** Who is at the keyboard; logged in once a run, for log-ins are throttled. */
export type Person = 'olga' | 'otto' | 'vera';

const kept = join(tmpdir(), `faultline-dashboard-${process.ppid}`);

export async function logIn(page: Page, name: string, password = PASSWORD): Promise<void> {
  await page.goto('/login');
  await page.getByLabel('Name').fill(name);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Log in' }).click();
}

type Options = { person: Person };

export const test = base.extend<Options & { noise: void }>({
  person: ['olga', { option: true }],
  // The browser's own storage, where this person is logged in.
  storageState: async ({ browser, person, baseURL }, use) => {
    const file = join(kept, `${person}.json`);
    if (!existsSync(file)) {
      mkdirSync(kept, { recursive: true });
      const context = await browser.newContext({ storageState: undefined, ...(baseURL ? { baseURL } : {}) });
      const page = await context.newPage();
      await logIn(page, person);
      await expect(page.getByRole('heading', { level: 1 })).toHaveText('Overview');
      await context.storageState({ path: file });
      await context.close();
    }
    await use(file);
  },
  // Nothing that a test does may make the page complain.
  noise: [
    async ({ page }, use) => {
      const heard: string[] = [];
      page.on('pageerror', (error) => heard.push(`error: ${error.message}`));
      page.on('console', (message) => {
        // The browser itself tells of answers that a test provokes; the page shows them.
        if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) heard.push(message.text());
      });
      await use();
      expect(heard).toEqual([]);
    },
    { auto: true },
  ],
});

export { expect };

/** Sends error reports, as programs do. */
export async function report(...reports: object[]): Promise<void> {
  const answer = await fetch(`${RECEIVER}/errors/log`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(reports),
  });
  expect(answer.status).toBe(200);
}

/** Asks the API as the person at the keyboard. */
export async function ask<T>(page: Page, path: string): Promise<T> {
  const answer = await page.request.get(path);
  expect(answer.status(), path).toBe(200);
  return (await answer.json()) as T;
}

export interface Fault {
  id: number;
  title: string;
  state: string;
  ticket: { key: string | null } | null;
}

/** Makes a fault that no other test knows; waits until it is there. */
export async function newFault(page: Page, message: string, more: object = {}): Promise<Fault> {
  await report({ service: 'specs', environment: 'production', severity: 'error', message, ...more });
  const word = message.split(' ').pop() ?? '';
  let found: Fault | undefined;
  await expect
    .poll(async () => {
      const { faults } = await ask<{ faults: Fault[] }>(page, `/api/faults?text=${encodeURIComponent(word)}`);
      found = faults[0];
      return faults.length;
    })
    .toBe(1);
  return found as Fault;
}

/** Waits until the fault has a ticket; gives its key. */
export async function ticketOf(page: Page, fault: number): Promise<string> {
  let key: string | null = null;
  await expect
    .poll(async () => {
      const answer = await ask<{ fault: Fault }>(page, `/api/faults/${fault}`);
      key = answer.fault.ticket?.key ?? null;
      return key;
    })
    .not.toBeNull();
  return key ?? '';
}

/** What somebody opened in Jira by themselves; gives its key. */
export async function newIssue(summary: string): Promise<string> {
  const answer = await fetch(`${env('JIRA_URL')}/rest/api/3/issue`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      authorization: `Basic ${Buffer.from('bot@example.com:secret-token').toString('base64')}`,
    },
    body: JSON.stringify({ fields: { project: { key: 'OPS' }, issuetype: { name: 'Bug' }, summary } }),
  });
  expect(answer.status).toBe(201);
  return ((await answer.json()) as { key: string }).key;
}

/** Presses a button of the dialog that is open. */
export async function confirm(page: Page, verb: string | RegExp): Promise<void> {
  await page.getByRole('dialog').getByRole('button', { name: verb }).click();
  await expect(page.getByRole('dialog')).toBeHidden();
}

/** What the page told in a note. */
export async function told(page: Page, text: string | RegExp): Promise<void> {
  await expect(page.getByText(text).first()).toBeVisible();
}
