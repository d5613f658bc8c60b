// A headless Chromium, where the machine has one.

import { type Browser, chromium } from 'playwright-core';
import { outcomeOf } from './tool.ts';

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** Its path; null where there is none. */
export async function findChromium(): Promise<string | null> {
  for (const place of PLACES) {
    const { status } = await outcomeOf(place, ['--version'], { timeoutMs: 30_000 });
    if (status === 0) return place;
  }
  return null;
}

export const startChromium = (executablePath: string): Promise<Browser> =>
  // Its sandbox does not start for root.
  chromium.launch({ executablePath, args: process.getuid?.() === 0 ? ['--no-sandbox'] : [] });
