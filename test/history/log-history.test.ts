// Every anomaly is found in a history that has it, and none in a sound one.

import { describe, expect, test } from 'vitest';
import { LogHistory } from './log-history.ts';

const P = 't-0';

/** Sends one after the other; a number is the offset told, null no answer, 'refused' a refusal. */
const historyOf = (fates: readonly (number | null | 'refused')[]): LogHistory => {
  const history = new LogHistory();
  for (const [index, fate] of fates.entries()) {
    const send = history.send('producer', { partition: P, value: `v${index}` });
    if (fate === 'refused') send.refuse();
    else if (fate !== null) send.acknowledge(fate);
  }
  return history;
};

const polled = (history: LogHistory, values: Readonly<Record<number, string>>, process = 'reader'): void => {
  history.poll(
    process,
    P,
    Object.entries(values).map(([offset, value]) => ({ offset: Number(offset), value })),
  );
};

const names = (history: LogHistory): readonly string[] => history.anomalies().map(anomaly => anomaly.name);

describe('a sound history', () => {
  test('has no anomaly', () => {
    const history = historyOf([0, 1, null, 2, 'refused']);
    polled(history, { 0: 'v0', 1: 'v1' });
    polled(history, { 2: 'v3' });
    history.seek('reader', P);
    polled(history, { 0: 'v0', 1: 'v1', 2: 'v3', 3: 'v2' });
    expect(history.anomalies()).toEqual([]);
    expect(history.sendCount).toBe(5);
    expect(history.acknowledgedCount).toBe(3);
  });

  test('may have holes where nothing is known to be', () => {
    const history = historyOf([0, 5]);
    polled(history, { 0: 'v0', 5: 'v1' });
    expect(history.anomalies()).toEqual([]);
  });

  test('may show a record before its send was answered', () => {
    const history = new LogHistory();
    const send = history.send('producer', { partition: P, value: 'early' });
    polled(history, { 0: 'early' });
    send.acknowledge(0);
    expect(history.anomalies()).toEqual([]);
  });

  test('keeps partitions apart', () => {
    const history = new LogHistory();
    history.send('producer', { partition: 'a', value: 'x' }).acknowledge(9);
    history.send('producer', { partition: 'b', value: 'y' }).acknowledge(0);
    history.poll('reader', 'a', [{ offset: 9, value: 'x' }]);
    history.poll('reader', 'b', [{ offset: 0, value: 'y' }]);
    expect(history.anomalies()).toEqual([]);
  });
});

describe('an anomaly is found:', () => {
  test('lost-write: acknowledged, and not there below what was read', () => {
    const history = historyOf([0, 1, 2]);
    polled(history, { 0: 'v0', 2: 'v2' }, 'someone else');
    expect(names(history)).toContain('lost-write');
  });

  test('unseen: acknowledged at the end, and never read', () => {
    const history = historyOf([0, 1]);
    polled(history, { 0: 'v0' });
    expect(names(history)).toEqual(['unseen']);
  });

  test('duplicate: one value twice', () => {
    const history = historyOf([0]);
    polled(history, { 0: 'v0', 1: 'v0' });
    expect(names(history)).toEqual(['duplicate']);
  });

  test('duplicate: told at one offset, read at another', () => {
    const history = historyOf([0]);
    polled(history, { 3: 'v0' });
    expect(names(history)).toEqual(['duplicate']);
  });

  test('inconsistent-offsets: two values at one offset', () => {
    const history = historyOf([0, null]);
    polled(history, { 0: 'v0' });
    polled(history, { 0: 'v1' }, 'another reader');
    expect(names(history)).toEqual(['inconsistent-offsets']);
  });

  test('poll-skip: within a poll, and from one to the next', () => {
    const within = historyOf([0, 1, 2]);
    polled(within, { 0: 'v0', 1: 'v1', 2: 'v2' });
    polled(within, { 0: 'v0', 2: 'v2' }, 'hasty');
    expect(names(within)).toEqual(['poll-skip']);
    const between = historyOf([0, 1, 2]);
    polled(between, { 0: 'v0', 1: 'v1', 2: 'v2' });
    polled(between, { 0: 'v0' }, 'hasty');
    polled(between, { 2: 'v2' }, 'hasty');
    expect(names(between)).toEqual(['poll-skip']);
  });

  test('nonmonotonic-poll: back without a seek', () => {
    const history = historyOf([0, 1]);
    polled(history, { 0: 'v0', 1: 'v1' });
    polled(history, { 1: 'v1' });
    expect(names(history)).toEqual(['nonmonotonic-poll']);
  });

  test('nonmonotonic-send: a later send of the same process lies lower', () => {
    const history = historyOf([1, 0]);
    polled(history, { 0: 'v1', 1: 'v0' });
    expect(names(history)).toEqual(['nonmonotonic-send']);
  });

  test('realtime-send: begun after another one was acknowledged, and lower', () => {
    const history = new LogHistory();
    history.send('one', { partition: P, value: 'first' }).acknowledge(1);
    history.send('two', { partition: P, value: 'second' }).acknowledge(0);
    polled(history, { 0: 'second', 1: 'first' });
    expect(names(history)).toEqual(['realtime-send']);
  });

  test('not realtime-send: the two sends ran side by side', () => {
    const history = new LogHistory();
    const first = history.send('one', { partition: P, value: 'first' });
    const second = history.send('two', { partition: P, value: 'second' });
    first.acknowledge(1);
    second.acknowledge(0);
    polled(history, { 0: 'second', 1: 'first' });
    expect(names(history)).toEqual([]);
  });

  test('aborted-read: refused for certain, and there', () => {
    const history = historyOf(['refused']);
    polled(history, { 0: 'v0' });
    expect(names(history)).toEqual(['aborted-read']);
  });

  test('invented: nobody sent it', () => {
    const history = historyOf([0]);
    polled(history, { 0: 'v0', 1: 'stranger' });
    expect(names(history)).toEqual(['invented']);
  });

  test('a thousand of the same are told ten times', () => {
    const history = new LogHistory();
    polled(history, Object.fromEntries(Array.from({ length: 1_000 }, (_, index) => [index, `stranger ${index}`])));
    expect(history.anomalies()).toHaveLength(10);
  });
});
