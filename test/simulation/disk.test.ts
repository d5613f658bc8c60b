// The simulated disk against the real one: the same operations give the same answers. And what only it can show: what a
// crash takes, the same for the same seed.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { unreachable } from '../../server/base/assert.ts';
import type { Disk, DiskFile, OpenMode } from '../../server/io/disk.ts';
import { DiskFault } from '../../server/io/disk.ts';
import { realDisk } from '../../server/io/real/disk.ts';
import { SimulatedDisk, usual } from './disk.ts';
import { SeededRandom } from './random.ts';
import { Deadlock, Scheduler } from './scheduler.ts';

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');
const bytes = (content: string): Uint8Array => Buffer.from(content, 'latin1');

const makeWorld = (seed: string): { scheduler: Scheduler; disk: SimulatedDisk } => {
  const random = new SeededRandom(seed);
  const scheduler = new Scheduler(random.fork('order'));
  return { scheduler, disk: new SimulatedDisk({ scheduler, random: random.fork('disk') }) };
};

// ---- One list of operations on both ------------------------------------------------------------------------------

type HandleOperation =
  | { readonly do: 'close' | 'size' | 'sync'; readonly handle: number }
  | { readonly do: 'write'; readonly handle: number; readonly at: number; readonly parts: readonly string[] }
  | { readonly do: 'read'; readonly handle: number; readonly at: number; readonly count: number }
  | { readonly do: 'truncate'; readonly handle: number; readonly at: number };

type NameOperation =
  | { readonly do: 'open'; readonly name: string; readonly mode: OpenMode }
  | { readonly do: 'readFile' | 'exists' | 'removeFile' | 'makeDirectory' | 'removeDirectory'; readonly name: string }
  | { readonly do: 'list' | 'syncDirectory'; readonly name: string }
  | { readonly do: 'rename'; readonly name: string; readonly to: string };

type Operation = HandleOperation | NameOperation;

const run = async (disk: Disk, root: string, operations: readonly Operation[]): Promise<unknown[]> => {
  const handles: DiskFile[] = [];
  const onHandle = async (file: DiskFile, operation: HandleOperation): Promise<unknown> => {
    switch (operation.do) {
      case 'close':
        return file.close();
      case 'size':
        return file.byteLength();
      case 'sync':
        return file.sync();
      case 'write':
        return file.write(operation.parts.map(bytes), operation.at);
      case 'truncate':
        return file.truncate(operation.at);
      case 'read': {
        const target = new Uint8Array(operation.count);
        const count = await file.read(target, operation.at);
        return [count, text(target)];
      }
      default:
        return unreachable(operation);
    }
  };
  const onName = async (operation: NameOperation): Promise<unknown> => {
    const path = join(root, operation.name);
    switch (operation.do) {
      case 'open':
        return handles.push(await disk.open(path, operation.mode));
      case 'readFile':
        return text(await disk.readFile(path));
      case 'list':
        return [...(await disk.list(path))].sort((left, right) => (left.name < right.name ? -1 : 1));
      case 'rename':
        return disk.rename(path, join(root, operation.to));
      case 'exists':
      case 'removeFile':
      case 'makeDirectory':
      case 'removeDirectory':
      case 'syncDirectory':
        return disk[operation.do](path);
      default:
        return unreachable(operation);
    }
  };
  const perform = async (operation: Operation): Promise<unknown> => {
    if (!('handle' in operation)) return onName(operation);
    const file = handles[operation.handle % Math.max(1, handles.length)];
    return file === undefined ? 'no handle' : onHandle(file, operation);
  };
  const answers: unknown[] = [];
  for (const operation of operations) {
    try {
      answers.push([operation, await perform(operation)]);
    } catch (error) {
      if (!(error instanceof DiskFault)) throw error;
      answers.push([operation, error.kind]);
    }
  }
  for (const handle of handles) await handle.close();
  return answers;
};

const files = fc.constantFrom('a', 'b', 'd/c', 'd/e');
const directories = fc.constantFrom('d', '.');
const handle = fc.nat(5);
const position = fc.oneof(fc.nat(20), fc.nat(10_000));
const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({
    do: fc.constant('open' as const),
    name: files,
    mode: fc.constantFrom<OpenMode>('create', 'read', 'write'),
  }),
  fc.record({
    do: fc.constant('write' as const),
    handle,
    at: position,
    parts: fc.array(fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 30 }), { minLength: 1, maxLength: 3 }),
  }),
  fc.record({ do: fc.constant('read' as const), handle, at: position, count: fc.integer({ min: 1, max: 40 }) }),
  fc.record({ do: fc.constant('truncate' as const), handle, at: position }),
  fc.record({ do: fc.constantFrom('close' as const, 'size' as const, 'sync' as const), handle }),
  fc.record({ do: fc.constantFrom('readFile' as const, 'exists' as const, 'removeFile' as const), name: files }),
  fc.record({
    do: fc.constantFrom('makeDirectory' as const, 'removeDirectory' as const),
    name: fc.constant('d'),
  }),
  fc.record({ do: fc.constantFrom('list' as const, 'syncDirectory' as const), name: directories }),
  fc.record({ do: fc.constant('rename' as const), name: files, to: files }),
);

describe('both disks give the same answers', () => {
  test('to any list of operations', async () => {
    let seed = 0;
    const start: Operation[] = [
      { do: 'makeDirectory', name: 'd' },
      { do: 'open', name: 'a', mode: 'create' },
    ];
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { maxLength: 40 }), async operations => {
        const directory = mkdtempSync(join(tmpdir(), 'sluice-disk-'));
        try {
          const { scheduler, disk } = makeWorld(`contract ${seed++}`);
          const mounted = disk.mount();
          await scheduler.drive(mounted.makeDirectory('/data'));
          const simulated = await scheduler.drive(run(mounted, '/data', [...start, ...operations]));
          expect(simulated).toEqual(await run(realDisk, directory, [...start, ...operations]));
          expect(disk.openPaths).toEqual([]);
        } finally {
          rmSync(directory, { recursive: true });
        }
      }),
      { numRuns: 150 },
    );
  });

  test('to calls on a closed file', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'sluice-disk-'));
    const { scheduler, disk } = makeWorld('closed');
    const refusals = async (one: Disk, path: string): Promise<unknown[]> => {
      const file = await one.open(path, 'create');
      await file.close();
      await file.close();
      const calls = [file.read(new Uint8Array(1), 0), file.write([bytes('x')], 0), file.sync(), file.byteLength()];
      return (await Promise.allSettled(calls)).map(
        each => each.status === 'rejected' && (each.reason as DiskFault).kind,
      );
    };
    try {
      const real = await refusals(realDisk, join(directory, 'a'));
      expect(real).toEqual(['closed', 'closed', 'closed', 'closed']);
      expect(await scheduler.drive(refusals(disk.mount(), '/a'))).toEqual(real);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

// ---- What a crash takes ------------------------------------------------------------------------------------------

const written = async (disk: Disk, path: string, content: string): Promise<DiskFile> => {
  const file = await disk.open(path, 'create');
  await file.write([bytes(content)], 0);
  return file;
};

describe('a crash', () => {
  test('takes neither what was synced nor the names of synced directories', async () => {
    for (let seed = 0; seed < 50; seed++) {
      const { scheduler, disk } = makeWorld(`synced ${seed}`);
      const mounted = disk.mount();
      await scheduler.drive(
        (async () => {
          const file = await written(mounted, '/a', 'x'.repeat(9_000));
          await file.sync();
          await mounted.syncDirectory('/');
          await file.write([bytes('y'.repeat(5_000))], 9_000);
        })(),
      );
      disk.crash();
      expect(text(disk.contents('/a')).slice(0, 9_000)).toBe('x'.repeat(9_000));
    }
  });

  test('with nothing surviving leaves what was synced and no more', async () => {
    const { scheduler, disk } = makeWorld('nothing');
    const mounted = disk.mount();
    await scheduler.drive(
      (async () => {
        const file = await written(mounted, '/a', 'first');
        await file.sync();
        await mounted.syncDirectory('/');
        await written(mounted, '/b', 'second');
        await mounted.rename('/a', '/c');
      })(),
    );
    disk.crash(0);
    expect(disk.filePaths()).toEqual(['/a']);
    expect(text(disk.contents('/a'))).toBe('first');
  });

  test('with all surviving takes nothing', async () => {
    const { scheduler, disk } = makeWorld('all');
    const mounted = disk.mount();
    const content = 'z'.repeat(3_000);
    await scheduler.drive(written(mounted, '/a', content));
    disk.crash(1);
    expect(disk.filePaths()).toEqual(['/a']);
  });

  test('leaves names, sizes and pages each on its own, and torn pages', async () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 400; seed++) {
      const { scheduler, disk } = makeWorld(`mixture ${seed}`);
      const mounted = disk.mount();
      await scheduler.drive(
        (async () => {
          const file = await written(mounted, '/a', 'o'.repeat(8_192));
          await file.sync();
          await mounted.syncDirectory('/');
          await file.write([bytes('n'.repeat(12_288))], 0);
          await mounted.rename('/a', '/b');
        })(),
      );
      disk.crash(0.5);
      const [path = ''] = disk.filePaths();
      const content = text(disk.contents(path));
      seen.add(`name ${path}`);
      seen.add(`size ${content.length}`);
      for (let page = 0; page < 2; page++) {
        const kinds = new Set(content.slice(page * 4_096, (page + 1) * 4_096));
        seen.add(kinds.size === 2 ? 'torn' : `page ${page} ${[...kinds].join('')}`);
      }
      const third = content.slice(8_192);
      if (third !== '') seen.add(`third ${[...new Set(third)].sort().join('').replaceAll('\0', '0')}`);
    }
    expect([...seen].sort()).toEqual([
      'name /a',
      'name /b',
      'page 0 n',
      'page 0 o',
      'page 1 n',
      'page 1 o',
      'size 12288',
      'size 8192',
      'third 0',
      'third 0n',
      'third n',
      'torn',
    ]);
  });

  test('can come in the middle of a write, and settles nothing', async () => {
    const seen = new Set<number>();
    for (let seed = 0; seed < 60; seed++) {
      const { scheduler, disk } = makeWorld(`middle ${seed}`);
      const mounted = disk.mount();
      const file = await scheduler.drive(mounted.open('/a', 'create'));
      await scheduler.drive(mounted.syncDirectory('/'));
      let isSettled = false;
      const note = (): void => {
        isSettled = true;
      };
      file.write([bytes('abcd')], 0).then(note, note);
      disk.crash(1);
      while (await scheduler.step());
      file.sync().then(note, note);
      mounted.exists('/a').then(note, note);
      while (await scheduler.step());
      expect(isSettled).toBe(false);
      seen.add(disk.contents('/a').length);
    }
    expect([...seen].sort((left, right) => left - right)).toEqual([0, 1, 2, 3, 4]);
  });

  test('is the same for the same seed', async () => {
    const leftOver = async (seed: string): Promise<string> => {
      const { scheduler, disk } = makeWorld(seed);
      const mounted = disk.mount();
      await scheduler.drive(
        Promise.all(['/a', '/b', '/c'].map(path => written(mounted, path, path.repeat(4_000)))).then(() => undefined),
      );
      disk.crash(0.5);
      return disk
        .filePaths()
        .map(path => path + text(disk.contents(path)))
        .join('|');
    };
    expect(await leftOver('one')).toBe(await leftOver('one'));
    const all = new Set<string>();
    for (let seed = 0; seed < 20; seed++) all.add(await leftOver(String(seed)));
    expect(all.size).toBeGreaterThan(5);
  });
});

describe('a failed sync', () => {
  test('leaves pages that no later sync saves, though everybody reads them', async () => {
    let lost = 0;
    for (let seed = 0; seed < 40; seed++) {
      const { scheduler, disk } = makeWorld(`failed ${seed}`);
      const mounted = disk.mount();
      const file = await scheduler.drive(written(mounted, '/a', 'x'.repeat(4_096)));
      await scheduler.drive(mounted.syncDirectory('/'));
      disk.judge = call => (call.kind === 'sync' ? { kind: 'fault', fault: 'failed' } : usual);
      await expect(scheduler.drive(file.sync())).rejects.toThrow(DiskFault);
      disk.judge = () => usual;
      await scheduler.drive(file.sync());
      expect(text(disk.contents('/a'))).toBe('x'.repeat(4_096));
      disk.crash(1);
      if (text(disk.contents('/a')) !== 'x'.repeat(4_096)) lost++;
    }
    expect(lost).toBeGreaterThan(5);
    expect(lost).toBeLessThan(40);
  });

  test('is made good by writing the same bytes again', async () => {
    for (let seed = 0; seed < 40; seed++) {
      const { scheduler, disk } = makeWorld(`again ${seed}`);
      const mounted = disk.mount();
      const file = await scheduler.drive(written(mounted, '/a', 'x'.repeat(4_096)));
      await scheduler.drive(mounted.syncDirectory('/'));
      disk.judge = call => (call.kind === 'sync' ? { kind: 'fault', fault: 'failed' } : usual);
      await expect(scheduler.drive(file.sync())).rejects.toThrow(DiskFault);
      disk.judge = () => usual;
      await scheduler.drive(file.write([bytes('x'.repeat(4_096))], 0));
      await scheduler.drive(file.sync());
      disk.crash(0);
      expect(text(disk.contents('/a'))).toBe('x'.repeat(4_096));
    }
  });
});

describe('the rest of the contract', () => {
  test('a write that does not fit is short, and one of which nothing fits is refused', async () => {
    const { scheduler, disk } = makeWorld('full');
    disk.capacityBytes = 8_192;
    const mounted = disk.mount();
    const file = await scheduler.drive(mounted.open('/a', 'create'));
    expect(await scheduler.drive(file.write([bytes('x'.repeat(8_000))], 0))).toBe(8_000);
    expect(await scheduler.drive(file.write([bytes('y'.repeat(500))], 8_000))).toBe(192);
    await expect(scheduler.drive(file.write([bytes('z')], 8_192))).rejects.toMatchObject({ kind: 'full' });
    expect(await scheduler.drive(mounted.freeBytes('/'))).toBe(0);
    expect(await scheduler.drive(file.write([bytes('again')], 0))).toBe(5);
    await scheduler.drive(file.truncate(0));
    expect(await scheduler.drive(mounted.freeBytes('/'))).toBe(8_192);
  });

  test('a sync makes durable what was written before it began, not what was written meanwhile', async () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 40; seed++) {
      const { scheduler, disk } = makeWorld(`meanwhile ${seed}`);
      const mounted = disk.mount();
      const file = await scheduler.drive(written(mounted, '/a', 'aaaa'));
      await scheduler.drive(mounted.syncDirectory('/'));
      const sync = file.sync();
      const write = file.write([bytes('bbbb')], 0);
      await scheduler.drive(Promise.all([sync, write]));
      disk.crash(0);
      seen.add(text(disk.contents('/a')));
    }
    expect(seen).toContain('aaaa');
    expect([...seen].every(content => content === 'aaaa' || content === 'bbbb')).toBe(true);
  });

  test('calls under way at the same time complete in any order', async () => {
    const orders = new Set<string>();
    for (let seed = 0; seed < 40; seed++) {
      const { scheduler, disk } = makeWorld(`order ${seed}`);
      const mounted = disk.mount();
      const order: string[] = [];
      const calls = ['a', 'b', 'c'].map(async name => {
        await mounted.exists(`/${name}`);
        order.push(name);
      });
      await scheduler.drive(Promise.all(calls));
      orders.add(order.join(''));
    }
    expect(orders.size).toBe(6);
  });

  test('rot shows at once and after a crash', async () => {
    const { scheduler, disk } = makeWorld('rot');
    const mounted = disk.mount();
    const file = await scheduler.drive(written(mounted, '/a', 'abc'));
    await scheduler.drive(file.sync());
    await scheduler.drive(mounted.syncDirectory('/'));
    disk.rot('/a', 1, byte => byte ^ 1);
    expect(text(disk.contents('/a'))).toBe('acc');
    disk.crash();
    expect(text(disk.contents('/a'))).toBe('acc');
  });

  test('somebody who waits while nothing is left to run is told', async () => {
    const { scheduler } = makeWorld('deadlock');
    await expect(scheduler.drive(new Promise(() => {}))).rejects.toThrow(Deadlock);
  });
});
