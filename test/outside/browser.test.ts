// Programs in a page, in Chromium: over a bare WebSocket, over EventSource and through the browser client as it is
// published, each over a broker that is killed and comes back on the same port. What is counted is every record: none
// missing, none twice. And what a page of another origin can do: nothing, until it is allowed by name.
//
// The pages are served by a small server of the test, so that all of them are foreign to the broker.

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { BrokerProcess } from '../integration/broker-process.ts';
import { findChromium, startChromium } from './chromium.ts';
import { outcomeOf, skipLoudly } from './tool.ts';

const root = new URL('../..', import.meta.url).pathname;
const chromium = await findChromium();
if (chromium === null) skipLoudly('the browser', 'there is no Chromium (apt-get install chromium)');

/** Before the kill, right after it while the page finds its way back, and when it has. */
const PHASE_RECORDS = 300;

// The programs, as a page would have them. `got` is what arrived, in its order.

const SOCKET_TAIL = `(async broker => {
  window.got = []; window.state = 'closed'; window.sockets = 0;
  let cursor = null;
  const connect = () => {
    const socket = new WebSocket('ws://' + broker + '/v1/ws', 'sluice.v1.json');
    window.sockets++;
    socket.onopen = () => socket.send(JSON.stringify({ id: 1, op: 'subscribe', topic: 't',
      ...(cursor === null ? { from: 'earliest' } : { cursor }), credit: { records: 100, bytes: 1048576 } }));
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      if (frame.op === 'subscribed') window.state = 'open';
      if (frame.op !== 'records') return;
      cursor = frame.cursor;
      for (const record of frame.records) window.got.push(record.value);
      socket.send(JSON.stringify({ op: 'credit', subscription: frame.subscription, records: frame.records.length, bytes: 100000 }));
    };
    socket.onclose = () => { window.state = 'closed'; setTimeout(connect, 50); };
  };
  connect();
})`;

const SOCKET_PRODUCE = `(([broker, first, count]) => new Promise((resolve, reject) => {
  const socket = new WebSocket('ws://' + broker + '/v1/ws');
  const offsets = [];
  socket.onerror = () => reject(new Error('no connection'));
  socket.onopen = () => {
    for (let id = 0; id < count / 10; id++) {
      const records = Array.from({ length: 10 }, (_, index) => ({ value: first + id * 10 + index }));
      socket.send(JSON.stringify({ id, op: 'produce', topic: 't', records }));
    }
  };
  socket.onmessage = ({ data }) => {
    const frame = JSON.parse(data);
    if (frame.op !== 'produced') { reject(new Error(data)); return; }
    for (const { offset } of frame.offsets) offsets.push(offset);
    if (offsets.length === count) { socket.close(); resolve(offsets); }
  };
}))`;

const EVENT_TAIL = `(broker => {
  window.got = []; window.state = 'closed'; window.opened = 0;
  const source = new EventSource('http://' + broker + '/v1/topics/t/records?from=earliest');
  source.onopen = () => { window.state = 'open'; window.opened++; };
  source.onerror = () => { window.state = 'closed'; };
  source.onmessage = event => window.got.push(JSON.parse(event.data).value);
})`;

const CLIENT_TAIL = `(async broker => {
  const { Sluice, defineTopic, json } = await import('/browser.js');
  window.got = []; window.state = 'closed'; window.lost = 0;
  window.sluice = new Sluice({ url: 'http://' + broker, onConnection: state => { window.state = state; if (state === 'lost') window.lost++; } });
  window.topic = defineTopic({ name: 't', value: json() });
  window.reader = window.sluice.reader({ topic: window.topic });
  (async () => { for await (const message of window.reader) window.got.push(message.value); })();
})`;

const CLIENT_PRODUCE = `(async ([first, count]) => {
  const producer = window.sluice.producer({ topic: window.topic });
  const tickets = Array.from({ length: count }, (_, index) => producer.enqueue({ value: first + index }));
  await producer.drain();
  return (await Promise.all(tickets.map(ticket => ticket.ack()))).map(place => place.offset);
})`;

/** Each way in and out that a page has: answers what it could do. */
const ATTEMPTS = `(async broker => {
  const url = 'http://' + broker + '/v1/topics/t/records';
  const json = { 'Content-Type': 'application/json' };
  const attempt = async action => { try { return await action(); } catch { return 'refused'; } };
  const done = answer => (answer.ok ? 'done' : 'refused');
  return {
    read: await attempt(() => fetch(url).then(done)),
    write: await attempt(() => fetch(url, { method: 'POST', headers: json, body: '{"records":[{"value":"fetch"}]}' }).then(done)),
    writeText: await attempt(() => fetch(url, { method: 'POST', headers: { 'Content-Type': 'text/plain' }, body: 'text' }).then(done)),
    writeUnread: await attempt(() => fetch(url, { method: 'POST', mode: 'no-cors', body: 'unread' }).then(() => 'sent')),
    createTopic: await attempt(() => fetch('http://' + broker + '/v1/topics', { method: 'POST', headers: json, body: '{"name":"made"}' }).then(done)),
    events: await new Promise(resolve => {
      const source = new EventSource(url + '?from=earliest');
      source.onopen = () => { source.close(); resolve('done'); };
      source.onerror = () => { source.close(); resolve('refused'); };
    }),
    socket: await new Promise(resolve => {
      const socket = new WebSocket('ws://' + broker + '/v1/ws', 'sluice.v1.json');
      socket.onopen = () => socket.send('{"id":1,"op":"produce","topic":"t","records":[{"value":"socket"}]}');
      socket.onmessage = ({ data }) => { socket.close(); resolve(JSON.parse(data).op === 'produced' ? 'done' : data); };
      socket.onerror = () => resolve('refused');
    }),
    form: await new Promise(resolve => {
      const frame = Object.assign(document.createElement('iframe'), { name: 'target' });
      const form = Object.assign(document.createElement('form'), { action: url, method: 'post', enctype: 'text/plain', target: 'target' });
      form.append(Object.assign(document.createElement('input'), { name: 'posted', value: 'by a form' }));
      document.body.append(frame, form);
      frame.addEventListener('load', () => resolve('sent'));
      form.submit();
    }),
  };
})`;

describe.skipIf(chromium === null)('a page', () => {
  let browser: Browser;
  let server: Server;
  let origin: string;
  let dataDir: string;
  let broker: BrokerProcess;
  let context: BrowserContext;
  let page: Page;

  beforeAll(async () => {
    expect(await outcomeOf('npm', ['run', 'build'], { cwd: root, timeoutMs: 120_000 })).toMatchObject({ status: 0 });
    const client = await readFile(join(root, 'dist/sdk/browser.js'));
    server = createServer((request, response) => {
      const isClient = request.url === '/browser.js';
      response.setHeader('Content-Type', isClient ? 'text/javascript' : 'text/html');
      response.end(isClient ? client : '<!doctype html><title>a page</title><body></body>');
    });
    await new Promise<void>(resolve => {
      server.listen(0, '127.0.0.1', resolve);
    });
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    browser = await startChromium(chromium!);
  });
  afterAll(async () => {
    await browser?.close();
    server?.close();
  });

  beforeEach(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'sluice-browser-'));
    context = await browser.newContext();
    page = await context.newPage();
    await page.goto(origin);
  });
  afterEach(async () => {
    await context.close();
    await broker.kill();
    await rm(dataDir, { recursive: true, force: true });
  });

  const start = async (flags: Readonly<Record<string, string>>): Promise<void> => {
    broker = await BrokerProcess.start(dataDir, flags);
    const body = '{"name":"t"}';
    const headers = { 'content-type': 'application/json' };
    const created = await fetch(`http://${broker.http}/v1/topics`, { method: 'POST', headers, body });
    expect([201, 409]).toContain(created.status);
  };
  const run = <T>(program: string, argument: unknown): Promise<T> =>
    page.evaluate<T>(`${program}(${JSON.stringify(argument)})`);
  const state = (name: string): Promise<unknown> => page.waitForFunction(`window.state === '${name}'`, null);
  const arrived = (count: number): Promise<unknown> => page.waitForFunction(`window.got.length >= ${count}`, null);
  const numbers = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

  /** Three phases of records around a kill; then all of them, once, in order. */
  const judge = async (tail: string, produce: (first: number) => Promise<unknown>): Promise<void> => {
    await start({ 'allow-origin': origin });
    const { http } = broker;
    await run(tail, http);
    await state('open');
    await produce(0);
    await arrived(PHASE_RECORDS);
    await broker.kill();
    await page.waitForFunction(`window.state !== 'open'`, null);
    await start({ 'allow-origin': origin, http });
    await produce(PHASE_RECORDS);
    await state('open');
    await produce(2 * PHASE_RECORDS);
    await arrived(3 * PHASE_RECORDS);
    expect(await page.evaluate('window.got')).toEqual(numbers(3 * PHASE_RECORDS));
  };
  const produceOver = (first: number): Promise<number[]> =>
    run<number[]>(SOCKET_PRODUCE, [broker.http, first, PHASE_RECORDS]);

  test('over a bare WebSocket produces, tails, and resumes at its cursor over a kill', async () => {
    await judge(SOCKET_TAIL, async first => {
      const offsets = await produceOver(first);
      expect(offsets).toEqual(numbers(PHASE_RECORDS).map(offset => offset + first));
    });
    expect(await page.evaluate('window.sockets')).toBeGreaterThan(1);
  });

  test('over EventSource tails, and the browser itself resumes over a kill', async () => {
    await judge(EVENT_TAIL, produceOver);
    expect(await page.evaluate('window.opened')).toBeGreaterThan(1);
  });

  test('over the browser client produces, tails, and resumes over a kill without a word of its own', async () => {
    await judge(CLIENT_TAIL, async first => {
      const offsets = await run<number[]>(CLIENT_PRODUCE, [first, PHASE_RECORDS]);
      expect(offsets).toEqual(numbers(PHASE_RECORDS).map(offset => offset + first));
    });
    expect(await page.evaluate('window.lost')).toBeGreaterThan(0);
    // A page that is loaded again goes on where it was.
    const cursor = await page.evaluate<string>('window.reader.cursor');
    await page.goto(origin);
    await run(
      CLIENT_TAIL.replace('topic: window.topic }', `topic: window.topic, from: { cursor: '${cursor}' } }`),
      broker.http,
    );
    await run(CLIENT_PRODUCE, [900, 10]);
    await arrived(10);
    expect(await page.evaluate('window.got')).toEqual(numbers(10).map(value => value + 900));
    expect(
      await page.evaluate(`window.sluice.admin.listTopics().then(topics => topics.map(topic => topic.name))`),
    ).toEqual(['t']);
  });

  test('of another origin can neither read nor write, whatever it tries', async () => {
    await start({});
    expect(await run(ATTEMPTS, broker.http)).toEqual({
      read: 'refused',
      write: 'refused',
      writeText: 'refused',
      // The page is not told how these ended; the topic tells.
      writeUnread: 'sent',
      createTopic: 'refused',
      events: 'refused',
      socket: 'refused',
      form: 'sent',
    });
    const topics = await (await fetch(`http://${broker.http}/v1/topics`)).json();
    expect(topics).toMatchObject({ topics: [{ name: 't' }] });
    expect(await (await fetch(`http://${broker.http}/v1/topics/t/records`)).json()).toMatchObject({ records: [] });
  });

  test('of an allowed origin can do all of it', async () => {
    await start({ 'allow-origin': origin });
    expect(await run(ATTEMPTS, broker.http)).toEqual({
      read: 'done',
      write: 'done',
      writeText: 'done',
      writeUnread: 'sent',
      createTopic: 'done',
      events: 'done',
      socket: 'done',
      form: 'sent',
    });
    const { records } = (await (await fetch(`http://${broker.http}/v1/topics/t/records`)).json()) as {
      records: { value?: string; value_text?: string }[];
    };
    const values = new Set(records.map(record => record.value ?? record.value_text));
    expect(records).toHaveLength(5);
    expect(values).toEqual(new Set(['fetch', 'posted=by a form\r', 'socket', 'text', 'unread']));
  });
});
