/** The README's pictures. Only made when `SCREENSHOTS` says where to. */
import { join } from 'node:path';
import { ask, expect, test, type Fault } from './steps';

const directory = process.env['SCREENSHOTS'];

if (directory) {
  test.use({ viewport: { width: 1280, height: 800 }, deviceScaleFactor: 1 });

  for (const [name, path, colorScheme, words] of [
    ['overview', '/', 'light', 'Components'],
    ['faults', '/faults', 'light', 'PaymentDeclined'],
    ['fault', '/faults/{fault}', 'dark', 'Occurrences'],
    ['jobs', '/jobs', 'dark', 'completed'],
    ['events', '/events?since=24h', 'light', 'method=GET'],
  ] as const) {
    test(`picture of ${name}`, async ({ page }) => {
      await page.emulateMedia({ colorScheme });
      const { faults } = await ask<{ faults: Fault[] }>(page, '/api/faults?text=PaymentDeclined');
      await page.goto(path.replace('{fault}', String(faults[0]?.id)));
      await expect(page.getByText(words).filter({ visible: true }).first()).toBeVisible();
      // Throughput is drawn as it comes.
      if (name === 'overview') await page.waitForFunction(() => document.querySelectorAll('canvas').length >= 2);
      await page.screenshot({ path: join(directory, `${name}.png`) });
    });
  }
}
