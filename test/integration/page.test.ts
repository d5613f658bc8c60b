// The page at `/` as a browser is given it: what its policy allows is what stands in it, and nothing more. What it does is
// judged in Chromium, by test/outside/page.test.ts.

import { createHash } from 'node:crypto';
import { startBroker, type TestBroker } from 'sluice/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';

let broker: TestBroker;
let answer: Response;
let html: string;

beforeAll(async () => {
  broker = await startBroker();
  answer = await fetch(`${broker.http}/`);
  html = await answer.text();
});

afterAll(() => broker?.stop());

test('it is HTML that nobody may sniff, frame or keep over an upgrade', () => {
  expect(answer.status).toBe(200);
  expect(answer.headers.get('content-type')).toBe('text/html; charset=utf-8');
  expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
  expect(answer.headers.get('cache-control')).toBe('no-store');
  expect(html).toMatch(/^<!doctype html>/);
});

test('its policy allows its one script and its one style by their hashes, and its own origin to talk to', () => {
  const hashesOf = (tag: string): string[] => {
    const found = [...html.matchAll(new RegExp(`<${tag}[^>]*>([^]*?)</${tag}>`, 'g'))];
    return found.map(([, text = '']) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`);
  };
  expect(hashesOf('script')).toHaveLength(1);
  expect(hashesOf('style')).toHaveLength(1);
  expect(answer.headers.get('content-security-policy')?.split('; ')).toEqual([
    "default-src 'none'",
    `script-src ${hashesOf('script')[0]}`,
    `style-src ${hashesOf('style')[0]}`,
    "connect-src 'self'",
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ]);
});

test('it names no other place, and has neither handlers nor styles in attributes', () => {
  const places = [...html.matchAll(/\b(?:https?|wss?):\/\/[^\s'"`)]+/g)].map(([place]) => place);
  // A name of a language, not a place that is asked.
  expect(places.filter(place => place !== 'http://www.w3.org/2000/svg' && !place.startsWith('ws://$'))).toEqual([]);
  expect(html.match(/<[^>]*\s(?:on\w+|style)\s*=/g)).toBeNull();
});

test('a foreign page does not get it, and nothing can be posted to it', async () => {
  const foreign = await fetch(`${broker.http}/`, { headers: { origin: 'http://elsewhere.example' } });
  expect(await foreign.json()).toMatchObject({ status: 403, code: 'ORIGIN_NOT_ALLOWED' });
  const posted = await fetch(`${broker.http}/`, { method: 'POST' });
  expect(posted.status).toBe(405);
});
