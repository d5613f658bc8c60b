// Lost connections and restarted brokers: readers go on where they were, producers say what they do not know.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { Sluice, SluiceError, defineTopic, text, type Message } from '@sluice/client';
import { startBroker } from 'sluice/testing';
import { CuttableLink } from './cuttable-link.ts';

const portOf = (address: string): number => Number(address.slice(address.lastIndexOf(':') + 1));

describe('a broker that is restarted', () => {
  test('readers resume exactly once, producers go on, admin calls wait', async () => {
    const dataDir = await mkdtemp(path.join(tmpdir(), 'sluice-sdk-'));
    let broker = await startBroker({ dataDir });
    const sluice = new Sluice({ servers: [broker.grpc] });
    try {
      const topic = defineTopic({ name: 'kept', value: text });
      await sluice.admin.createTopic({ name: 'kept', partitionCount: 3 });
      await using producer = sluice.producer({ topic, partitioner: 'round-robin', lingerMs: 0 });
      const reader = sluice.reader({ topic });
      const messages = reader[Symbol.asyncIterator]();
      const seen: string[] = [];
      const readUntil = async (count: number): Promise<void> => {
        while (seen.length < count) seen.push(((await messages.next()).value as Message<Uint8Array, string>).value!);
      };
      const settings = { grpc: { host: '127.0.0.1', port: portOf(broker.grpc) } };
      for (let life = 0; life < 3; life++) {
        const values = Array.from({ length: 50 }, (_, index) => `${life}-${index}`);
        await Promise.all(values.map(value => producer.send({ value })));
        // Some are taken, some are still in the reader's buffer, some may be unread when the broker stops.
        await readUntil(life * 50 + 20);
        await broker.stop();
        const described = sluice.admin.describeTopic('kept');
        broker = await startBroker({ dataDir, settings });
        expect((await described).partitionCount).toBe(3);
      }
      await readUntil(150);
      const last = await producer.send({ value: 'last' });
      await readUntil(151);
      expect(new Set(seen).size).toBe(151);
      expect(seen.at(-1)).toBe('last');
      expect(last.offset).toBeGreaterThanOrEqual(50);
      for (const life of [0, 1, 2]) expect(seen.filter(value => value.startsWith(`${life}-`))).toHaveLength(50);
      await messages.return!();
    } finally {
      await sluice.close();
      await broker.stop();
      await rm(dataDir, { recursive: true, force: true });
    }
  });

  test('records that had not left wait for it and are written once', async () => {
    const dataDir = await mkdtemp(path.join(tmpdir(), 'sluice-sdk-'));
    let broker = await startBroker({ dataDir });
    const sluice = new Sluice({ servers: [broker.grpc] });
    try {
      await sluice.admin.createTopic({ name: 'waiting' });
      await using producer = sluice.producer({ topic: 'waiting', lingerMs: 0 });
      await producer.send({ value: 'before' });
      const settings = { grpc: { host: '127.0.0.1', port: portOf(broker.grpc) } };
      await broker.stop();
      const during = Promise.all(['a', 'b', 'c'].map(value => producer.send({ value })));
      broker = await startBroker({ dataDir, settings });
      expect((await during).map(delivery => delivery.offset)).toEqual([1, 2, 3]);
    } finally {
      await sluice.close();
      await broker.stop();
      await rm(dataDir, { recursive: true, force: true });
    }
  });
});

describe('a connection that is lost', () => {
  test('after a batch was written and before its answer: without an identity the outcome is unknown, and it is not written twice', async () => {
    await using broker = await startBroker();
    await using link = await CuttableLink.to(broker.grpc);
    await using sluice = new Sluice({ servers: [link.address] });
    await sluice.admin.createTopic({ name: 'maybe' });
    await using producer = sluice.producer({ topic: 'maybe', lingerMs: 0, idempotent: false });
    await producer.send({ value: 'sure' });
    link.swallowAnswers();
    const maybe = producer.send({ value: 'maybe' }).catch((reason: unknown) => reason);
    // It has arrived: another client, beside the link, sees it.
    await using beside = new Sluice({ servers: [broker.grpc] });
    const messages = beside.reader({ topic: 'maybe' })[Symbol.asyncIterator]();
    await messages.next();
    expect((await messages.next()).value).toMatchObject({ offset: 1 });
    link.cut();
    const error = await maybe;
    expect(error).toBeInstanceOf(SluiceError);
    expect(error).toMatchObject({ code: 'REQUEST_TIMED_OUT', outcome: 'unknown' });
    expect((await producer.send({ value: 'after' })).offset).toBe(2);
    await messages.return!();
  });

  test('again and again while reading: every record comes once and in order', async () => {
    await using broker = await startBroker();
    await using link = await CuttableLink.to(broker.grpc);
    await using beside = new Sluice({ servers: [broker.grpc] });
    await beside.admin.createTopic({ name: 'cut', partitionCount: 2 });
    const producer = beside.producer({
      topic: 'cut',
      batchBytes: 4_000,
      compression: 'zstd',
      partitioner: 'round-robin',
    });
    const count = 20_000;
    for (let index = 0; index < count; index++) producer.enqueue({ value: `${index}` });
    await producer.drain();
    await using sluice = new Sluice({ servers: [link.address] });
    const next = new Map([
      [0, 0],
      [1, 0],
    ]);
    let taken = 0;
    let cuts = 0;
    const reader = sluice.reader({ topic: 'cut', untilEnd: true, bufferBytesMax: 20_000 });
    for await (const message of reader) {
      expect(message.offset).toBe(next.get(message.partition));
      next.set(message.partition, message.offset + 1);
      if (++taken % 4_000 === 0 && cuts < 4) {
        cuts++;
        link.cut();
      }
    }
    expect(taken).toBe(count);
    expect(cuts).toBe(4);
  });

  test('again and again while writing: every record is acknowledged, and there once, in order', async () => {
    await using broker = await startBroker();
    await using link = await CuttableLink.to(broker.grpc);
    await using beside = new Sluice({ servers: [broker.grpc] });
    await beside.admin.createTopic({ name: 'once', partitionCount: 3 });
    await using sluice = new Sluice({ servers: [link.address] });
    await using producer = sluice.producer({ topic: 'once', lingerMs: 0, batchBytes: 500 });
    const places = new Map<string, string>();
    const count = 3_000;
    for (let from = 0; from < count; from += 300) {
      const values = Array.from({ length: 300 }, (_, index) => `${from + index}`);
      const sends = values.map(async value => {
        const { partition, offset } = await producer.send({ key: value, value });
        places.set(value, `${partition}/${offset}`);
      });
      // The first answers have come, the last have not.
      await Promise.race(sends);
      link.cut();
      await Promise.all(sends);
    }
    const latest = [-1, -1, -1];
    let found = 0;
    for await (const { partition, offset, value } of beside.reader({ topic: 'once', untilEnd: true })) {
      const at = Buffer.from(value!).toString();
      expect(places.get(at)).toBe(`${partition}/${offset}`);
      expect(Number(at)).toBeGreaterThan(latest[partition]!);
      latest[partition] = Number(at);
      found++;
    }
    expect(found).toBe(count);
  });

  test('again and again while writing without an identity: what was acknowledged is there once, what is unknown at most once', async () => {
    await using broker = await startBroker();
    await using link = await CuttableLink.to(broker.grpc);
    await using beside = new Sluice({ servers: [broker.grpc] });
    await beside.admin.createTopic({ name: 'written', partitionCount: 3 });
    await using sluice = new Sluice({ servers: [link.address] });
    await using producer = sluice.producer({ topic: 'written', lingerMs: 0, batchBytes: 500, idempotent: false });
    const places = new Map<string, string>();
    const unknown = new Set<string>();
    const count = 3_000;
    for (let from = 0; from < count; from += 300) {
      const values = Array.from({ length: 300 }, (_, index) => `${from + index}`);
      const sends = values.map(async value => {
        try {
          const { partition, offset } = await producer.send({ key: value, value });
          places.set(value, `${partition}/${offset}`);
        } catch (error) {
          expect(error).toMatchObject({ code: 'REQUEST_TIMED_OUT', outcome: 'unknown' });
          unknown.add(value);
        }
      });
      // The first answers have come, the last have not.
      await Promise.race(sends);
      link.cut();
      await Promise.all(sends);
    }
    expect(places.size + unknown.size).toBe(count);
    expect(unknown.size).toBeGreaterThan(0);
    const found = new Map<string, string[]>();
    for await (const { partition, offset, value } of beside.reader({ topic: 'written', untilEnd: true })) {
      const at = Buffer.from(value!).toString();
      found.set(at, [...(found.get(at) ?? []), `${partition}/${offset}`]);
    }
    for (const [value, place] of places) expect(found.get(value)).toEqual([place]);
    for (const value of unknown) expect(found.get(value)?.length ?? 0).toBeLessThanOrEqual(1);
  });

  test('while a topic is created: the caller is told that nobody knows', async () => {
    await using broker = await startBroker();
    await using link = await CuttableLink.to(broker.grpc);
    await using sluice = new Sluice({ servers: [link.address] });
    await sluice.admin.cluster();
    link.swallowAnswers();
    const created = sluice.admin.createTopic({ name: 'created' }).catch((reason: unknown) => reason);
    await using beside = new Sluice({ servers: [broker.grpc] });
    while ((await beside.admin.listTopics()).length === 0);
    link.cut();
    expect(await created).toMatchObject({ code: 'REQUEST_TIMED_OUT', outcome: 'unknown' });
    // What only reads is simply asked again.
    expect((await sluice.admin.describeTopic('created')).name).toBe('created');
  });
});
