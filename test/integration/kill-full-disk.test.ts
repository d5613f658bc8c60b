// A disk that is full to the last byte: a small tmpfs of its own, which takes root to mount; skipped with the reason
// where that is not allowed.
//
// Records are refused and everything else goes on; a broker killed then starts again on the full disk, has every
// acknowledged record, and a deleted topic makes room without a restart.

import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { BrokerProcess } from './broker-process.ts';
import { HttpClient, type HttpAnswer } from './http-exchange.ts';

const folder = mkdtempSync(join(tmpdir(), 'sluice-full-disk-'));
const isMounted = mountSmallDisk();

function mountSmallDisk(): boolean {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', folder], { stdio: 'pipe' });
    return true;
  } catch (error) {
    process.stderr.write(`\nSKIPPED the full disk: no tmpfs can be mounted (${String(error).split('\n')[0]})\n`);
    return false;
  }
}

afterAll(async () => {
  if (isMounted) execFileSync('umount', ['--lazy', folder]);
  await rm(folder, { recursive: true, force: true });
});

describe.skipIf(!isMounted)('on a disk that is full', () => {
  /** Incompressible enough, and never the same twice. */
  const bodyOf = (number: number, bytes: number): Buffer => {
    const body = Buffer.alloc(bytes);
    for (let at = 0; at < bytes; at += 4)
      body.writeUInt32LE(Math.imul(at + number * bytes + 1, 2_654_435_761) >>> 0, at);
    return body;
  };

  const produce = (http: HttpClient, topic: string, body: Buffer): Promise<HttpAnswer> =>
    http.send({
      method: 'POST',
      path: `/v1/topics/${topic}/records`,
      headers: { 'content-type': 'application/octet-stream' },
      body,
    });

  const codeOf = ({ body }: HttpAnswer): unknown => (JSON.parse(body.toString() || '{}') as { code?: unknown }).code;

  const createTopic = (http: HttpClient, name: string): Promise<HttpAnswer> =>
    http.send({
      method: 'POST',
      path: '/v1/topics',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name }),
    });

  /** Sends bodies of this size until three in a row are refused; how many were acknowledged. */
  async function fill(http: HttpClient, topic: string, bytes: number): Promise<number> {
    let acknowledged = 0;
    for (let refused = 0; refused < 3; ) {
      const answer = await produce(http, topic, bodyOf(acknowledged, bytes));
      if (answer.status === 200) {
        acknowledged++;
        refused = 0;
      } else {
        expect([answer.status, codeOf(answer)]).toEqual([507, 'DISK_FULL']);
        refused++;
      }
    }
    return acknowledged;
  }

  async function expectRecords(http: HttpClient, topic: string, count: number, bytes: number): Promise<void> {
    for (let offset = 0; offset < count; offset++) {
      const { status, body } = await http.send({
        path: `/v1/topics/${topic}/partitions/0/records/${offset}`,
        headers: { accept: 'application/octet-stream' },
      });
      expect([offset, status, body.equals(bodyOf(offset, bytes))]).toEqual([offset, 200, true]);
    }
  }

  test('records are refused, nothing acknowledged is lost to a kill, and deleting makes room again', async () => {
    const dataDir = join(folder, 'data');
    const first = await BrokerProcess.start(dataDir);
    let large: number;
    let small: number;
    try {
      const http = new HttpClient(first.http);
      await createTopic(http, 'large');
      await createTopic(http, 'small');
      large = await fill(http, 'large', 700_000);
      small = await fill(http, 'small', 9_000);
      expect(large).toBeGreaterThan(10);
      await expectRecords(http, 'large', large, 700_000);
      http.close();
    } finally {
      await first.kill();
    }

    const second = await BrokerProcess.start(dataDir);
    try {
      const http = new HttpClient(second.http);
      await expectRecords(http, 'large', large, 700_000);
      await expectRecords(http, 'small', small, 9_000);
      const deleted = await http.send({ method: 'DELETE', path: '/v1/topics/large' });
      expect([deleted.status, deleted.body.toString()]).toEqual([204, '']);
      // The files go behind the answer: a refusal until then is in order, and the answers are what is waited for.
      let answer = await produce(http, 'small', bodyOf(small, 9_000));
      while (codeOf(answer) === 'DISK_FULL') answer = await produce(http, 'small', bodyOf(small, 9_000));
      expect(answer.status).toBe(200);
      await expectRecords(http, 'small', small + 1, 9_000);
      http.close();
      expect((await second.terminate()).status).toBe(0);
    } finally {
      await second.kill();
    }
  });
});
