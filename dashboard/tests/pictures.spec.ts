/** The README's pictures. Only made when `SCREENSHOTS` says where to. */
import { join } from 'node:path';
import { ask, expect, report, test, type Fault } from './steps';

const directory = process.env['SCREENSHOTS'];

/** Half a minute of reports, now more and now fewer, so that the curves are curves. */
async function traffic(): Promise<void> {
  for (let step = 0; step < 120; step += 1) {
    const count = Math.round(8 + 5 * Math.sin(step / 9) + 2 * Math.sin(step / 2));
    const message = `payment ${step} refused: card expired`;
    await report(...Array.from({ length: count }, () => ({ message, service: 'checkout' })));
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

if (directory) {
  test.use({ viewport: { width: 1280, height: 800 }, deviceScaleFactor: 1 });

  for (const [name, path, colorScheme, words] of [
    ['faults', '/faults', 'light', 'PaymentDeclined'],
    ['fault', '/faults/{fault}', 'dark', 'Occurrences'],
    ['jobs', '/jobs', 'dark', 'completed'],
    ['events', '/events?since=24h', 'light', 'method=GET'],
    // The last one: its traffic is new, and would push the others' rows away.
    ['overview', '/', 'light', 'Components'],
  ] as const) {
    test(`picture of ${name}`, async ({ page }) => {
      await page.emulateMedia({ colorScheme });
      const { faults } = await ask<{ faults: Fault[] }>(page, '/api/faults?text=PaymentDeclined');
      await page.goto(path.replace('{fault}', String(faults[0]?.id)));
      await expect(page.getByText(words).filter({ visible: true }).first()).toBeVisible();
      // Throughput is drawn as it comes.
      if (name === 'overview') {
        await page.waitForFunction(() => document.querySelectorAll('canvas').length >= 2);
        await traffic();
      }
      await page.screenshot({ path: join(directory, `${name}.png`) });
    });
  }
}
