// Requests and answers about groups as they cross between nodes.

import { describe, expect, test } from 'vitest';
import {
  decodeGroupAnswer,
  decodeGroupCommand,
  encodeGroupAnswer,
  encodeGroupCommand,
} from '../../../server/coordinator/groups/group-message.ts';
import { groupAnswers, groupCommands } from '../../fuzz/group-decoders.ts';

const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));
const parsed = (bytes: Uint8Array): Record<string, unknown> => JSON.parse(Buffer.from(bytes).toString()) as never;

const optional = new Set(
  (
    'instanceId clientId clientHost rack topics topicPattern from sessionTimeoutMs rebalanceTimeoutMs assignor ' +
    'owned member places after leaderEpoch metadata before replacedMemberId'
  ).split(' '),
);

/** With each member once of another kind, and each that must be there once missing; lists through their first part. */
function* broken(value: unknown): Generator {
  if (Array.isArray(value)) {
    const [first, ...rest] = value as unknown[];
    if (first !== undefined) for (const each of broken(first)) yield [each, ...rest];
    return;
  }
  if (typeof value !== 'object' || value === null) return;
  for (const [name, part] of Object.entries(value)) {
    // Nothing is said to who left or committed, and of the facts of a refusal every one may be missing.
    if (part === null || name === 'facts') continue;
    yield { ...value, [name]: { of: 'another kind' } };
    const { [name]: _, ...rest } = value as Record<string, unknown>;
    if (!optional.has(name)) yield rest;
    for (const each of broken(part)) yield { ...value, [name]: each };
  }
}

describe('a request', () => {
  test.each(groupCommands)('$verb is the same at the other end', command => {
    expect(decodeGroupCommand(encodeGroupCommand({ partition: 3, command }))).toEqual({ partition: 3, command });
  });

  test.each(groupCommands)('$verb is none when something is missing, or of another kind', command => {
    for (const each of broken(parsed(encodeGroupCommand({ partition: 3, command })))) {
      expect(decodeGroupCommand(json(each)), JSON.stringify(each)).toBeNull();
    }
  });

  test('of another release is none', () => {
    expect(decodeGroupCommand(json({ partition: 1, verb: 'dance', request: {} }))).toBeNull();
  });
});

describe('an answer', () => {
  test.each(groupAnswers)('to $verb is the same at the other end', ({ verb, result }) => {
    expect(decodeGroupAnswer(verb, encodeGroupAnswer(result))).toEqual(result);
  });

  test.each(groupAnswers)('to $verb is none when something is missing, or of another kind', ({ verb, result }) => {
    for (const each of broken(parsed(encodeGroupAnswer(result)))) {
      expect(decodeGroupAnswer(verb, json(each)), JSON.stringify(each)).toBeNull();
    }
  });
});
