// What a client and the log learn of an exception, and that a broken invariant ends the process.

import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import type { GatewayContext } from '../../../server/gateway/gateway.ts';
import { unexpected } from '../../../server/gateway/grpc/unexpected.ts';

test('the client gets a request id, the log the cause under it', () => {
  const lines: unknown[] = [];
  const context = {
    random: { uuid: () => 'the-id' },
    logger: { error: (fields: unknown) => lines.push(fields) },
  } as unknown as GatewayContext;
  const cause = new Error('secret of the machine');
  const problem = unexpected(context, cause, 'produce');
  expect(problem).toMatchObject({ code: 'INTERNAL', facts: { request_id: 'the-id' } });
  expect(JSON.stringify(problem)).not.toContain('secret');
  expect(lines).toEqual([{ door: 'grpc', verb: 'produce', request_id: 'the-id', err: cause }]);
});

test('a broken invariant ends the process, although a handler would have caught it', () => {
  const at = (path: string): string => JSON.stringify(new URL(`../../../server/${path}`, import.meta.url).href);
  const program = `
    import { AssertionFailure } from ${at('base/assert.ts')};
    import { unexpected } from ${at('gateway/grpc/unexpected.ts')};
    const context = { random: { uuid: () => 'id' }, logger: { error() {} } };
    setTimeout(() => console.log('went on'), 1_000);
    try { throw new AssertionFailure('offsets rise'); } catch (error) { unexpected(context, error, 'produce'); }
  `;
  const run = spawnSync(process.execPath, ['--input-type=module', '--eval', program], { encoding: 'utf8' });
  expect(run.status).not.toBe(0);
  expect(run.stderr).toContain('offsets rise');
  expect(run.stdout).toBe('');
});
