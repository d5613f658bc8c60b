// The page at `/` as a person uses it, in Chromium: a topic is created, records are sent and appear in the tail, a broker
// that goes away is waited for. Pictures of it in both colour schemes are left in .work/screenshots.

import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { BrokerProcess } from '../integration/broker-process.ts';
import { findChromium, startChromium } from './chromium.ts';
import { skipLoudly } from './tool.ts';

const chromium = await findChromium();
if (chromium === null) skipLoudly('the page', 'there is no Chromium (apt-get install chromium)');
const screenshots = new URL('../../.work/screenshots/', import.meta.url).pathname;

describe.skipIf(chromium === null)('the page', () => {
  let browser: Browser;
  let dataDir: string;
  let broker: BrokerProcess;
  let context: BrowserContext;
  let page: Page;
  /** What the browser complained about: refused scripts, failed requests, errors of the page. */
  let complaints: string[];

  beforeAll(async () => {
    await mkdir(screenshots, { recursive: true });
    browser = await startChromium(chromium!);
  });
  afterAll(() => browser?.close());

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'sluice-page-'));
    broker = await BrokerProcess.start(dataDir);
    await open('light');
  });
  afterEach(async () => {
    await context.close();
    await broker.kill();
    await rm(dataDir, { recursive: true, force: true });
  });

  const open = async (colorScheme: 'light' | 'dark', width = 1280): Promise<void> => {
    context = await browser.newContext({ colorScheme, viewport: { width, height: 860 } });
    page = await context.newPage();
    complaints = [];
    page.on('pageerror', error => complaints.push(error.message));
    page.on('console', message => {
      if (message.type() === 'error') complaints.push(message.text());
    });
    await page.goto(`http://${broker.http}/`);
    // It has asked for the topics and set itself up.
    await page.locator('#topic option', { hasText: /topic/ }).first().waitFor({ state: 'attached' });
  };

  const createTopic = async (name: string, partitions = '1'): Promise<void> => {
    const form = page.getByRole('button', { name: 'Create topic' });
    if (!(await form.isVisible())) await page.getByText('New topic').click();
    await page.getByLabel('Name').fill(name);
    await page.getByLabel('Partitions').fill(partitions);
    await form.click();
    await page.getByText(`${name} is created`).waitFor();
  };
  const send = async (value: string, key = ''): Promise<void> => {
    await page.getByLabel('Key').fill(key);
    await page.getByRole('textbox', { name: 'Value' }).fill(value);
    await page.getByRole('button', { name: 'Send' }).click();
    await page.getByText(/^Durable in partition/).waitFor();
  };
  const tail = (): Promise<string[]> => page.locator('#records .value').allTextContents();
  const tailOf = (count: number): Promise<unknown> => page.locator(`#records li:nth-child(${count})`).waitFor();
  const live = (): Promise<unknown> => page.locator('#state[data-state=live]').waitFor();

  test('a topic is created, records are sent, and appear as they are', async () => {
    await createTopic('orders', '3');
    await live();
    await send('{"item": "tea", "total": 12}', 'user-1');
    await send('just text\nin two lines');
    await send('');
    await tailOf(3);
    expect((await tail()).sort()).toEqual(['', 'just text\nin two lines', 'user-1{"item": "tea", "total": 12}']);
    expect(await page.locator('#count').textContent()).toBe('3 records');
    expect(complaints).toEqual([]);
  });

  test('markup in a record is shown, and does not run', async () => {
    await createTopic('markup');
    const hostile = '<img src=x onerror="document.title=\'ran\'"><script>document.title="ran"</script>';
    await send(hostile, '<b>key</b>');
    await tailOf(1);
    expect(await tail()).toEqual([`<b>key</b>${hostile}`]);
    expect(await page.locator('#records img, #records script, #records b').count()).toBe(0);
    // Nor would it, had it become markup.
    await page.evaluate(`document.querySelector('#empty').insertAdjacentHTML('beforeend', ${JSON.stringify(hostile)})`);
    await expect.poll(() => complaints.some(text => text.includes('Content Security Policy'))).toBe(true);
    expect(await page.title()).toBe('Sluice');
  });

  test('what the broker refuses is said with its code', async () => {
    await createTopic('taken');
    await page.getByText('New topic').click();
    await page.getByLabel('Name').fill('taken');
    await page.getByRole('button', { name: 'Create topic' }).click();
    await page.locator('#topic-note', { hasText: 'TOPIC_EXISTS' }).waitFor();
    await page.getByLabel('Name').fill('no spaces');
    await page.getByRole('button', { name: 'Create topic' }).click();
    await page.locator('#topic-note', { hasText: 'INVALID_TOPIC_NAME' }).waitFor();
  });

  test('a broker that is killed and started again is waited for, and the tail misses and repeats nothing', async () => {
    await createTopic('kept');
    await live();
    const produce = async (from: number, to: number): Promise<void> => {
      const records = Array.from({ length: to - from }, (_, index) => ({ value: from + index }));
      const url = `http://${broker.http}/v1/topics/kept/records`;
      const headers = { 'content-type': 'application/json' };
      expect((await fetch(url, { method: 'POST', headers, body: JSON.stringify({ records }) })).status).toBe(200);
    };
    await produce(0, 100);
    await tailOf(100);
    const { http } = broker;
    await broker.kill();
    await page.locator('#state', { hasText: 'reconnecting' }).waitFor();
    broker = await BrokerProcess.start(dataDir, { http });
    await produce(100, 300);
    await tailOf(300);
    await live();
    await produce(300, 400);
    await tailOf(400);
    expect(await tail()).toEqual(Array.from({ length: 400 }, (_, index) => String(index)));
  });

  test('everything is reached by the keyboard', async () => {
    await page.getByLabel('Name').focus();
    await page.keyboard.type('keys');
    await page.keyboard.press('Enter');
    await page.getByText('keys is created').waitFor();
    await page.locator('#value:focus').waitFor();
    await page.keyboard.type('typed');
    await page.keyboard.press('Control+Enter');
    await tailOf(1);
    expect(await tail()).toEqual(['typed']);
    const reached: string[] = [];
    await page.locator('#topic').focus();
    for (let step = 0; step < 12; step++) {
      reached.push(await page.evaluate<string>('document.activeElement.id'));
      await page.keyboard.press('Tab');
    }
    for (const id of ['key', 'value', 'send', 'from', 'pause', 'clear', 'records']) expect(reached).toContain(id);
  });

  test.each(['light', 'dark'] as const)(
    'it loads nothing from elsewhere, and looks like this when %s',
    async scheme => {
      await context.close();
      await open(scheme);
      const asked: string[] = [];
      page.on('request', request => asked.push(new URL(request.url()).host));
      await page.screenshot({ path: join(screenshots, `page-empty-${scheme}.png`) });
      await createTopic('payments', '3');
      await live();
      for (let index = 0; index < 12; index++) {
        await send(
          `{"user": "user-${index % 4}", "item": "${['tea', 'cup', 'spoon'][index % 3]}", "total": ${index * 7}}`,
          `user-${index % 4}`,
        );
      }
      await tailOf(12);
      await page.screenshot({ path: join(screenshots, `page-${scheme}.png`) });
      await page.getByText('New topic').click();
      await page.getByLabel('Name').fill('payments');
      await page.getByRole('button', { name: 'Create topic' }).click();
      await page.locator('#topic-note', { hasText: 'TOPIC_EXISTS' }).waitFor();
      await page.setViewportSize({ width: 390, height: 844 });
      await page.screenshot({ path: join(screenshots, `page-narrow-${scheme}.png`), fullPage: true });
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(390);
      expect(new Set(asked)).toEqual(new Set([broker.http]));
    },
  );
});
