// What a member may ask for when it joins: one way to name topics, texts and times within their bounds.

import { accepted, refused, type Result } from '@sluice/protocol/errors';
import { topicNameFault } from '@sluice/protocol/ids';
import {
  GROUP_REBALANCE_MS_DEFAULT,
  GROUP_REBALANCE_MS_MAX,
  GROUP_REBALANCE_MS_MIN,
  GROUP_SESSION_MS_DEFAULT,
  GROUP_SESSION_MS_MAX,
  GROUP_SESSION_MS_MIN,
  GROUP_TEXT_CHARS_MAX,
  SUBSCRIBED_TOPICS_MAX,
} from '../../base/limits.ts';
import type { AssignorName, Subscription } from './record.ts';
import { topicPattern } from './topic-pattern.ts';

export interface JoinRequest {
  readonly groupId: string;
  /** Fresh: whoever asks draws it, and repeats the request with the same one. */
  readonly memberId: string;
  readonly instanceId?: string | undefined;
  readonly clientId?: string | undefined;
  readonly clientHost?: string | undefined;
  readonly rack?: string | undefined;
  /** These or a pattern. */
  readonly topics?: readonly string[] | undefined;
  readonly topicPattern?: string | undefined;
  readonly from?: 'earliest' | 'latest' | undefined;
  readonly sessionTimeoutMs?: number | undefined;
  readonly rebalanceTimeoutMs?: number | undefined;
  readonly assignor?: AssignorName | undefined;
}

/** Visible characters of ASCII, so that a group can stand in a path, a log line and a table. */
const namePattern = /^[\x21-\x7e]+$/;

export const groupIdFault = (groupId: string): string | null =>
  groupId.length <= GROUP_TEXT_CHARS_MAX && namePattern.test(groupId)
    ? null
    : `a group is named with 1 to ${GROUP_TEXT_CHARS_MAX} visible ASCII characters`;

const timeFault = (name: string, value: number, [min, max]: readonly [number, number]): string | null =>
  Number.isInteger(value) && value >= min && value <= max ? null : `${name} is ${min} to ${max} ms, not ${value}`;

const textsFault = (request: JoinRequest): string | null => {
  const { memberId, instanceId, clientId = '', clientHost = '', rack = '' } = request;
  for (const name of instanceId === undefined ? [memberId] : [memberId, instanceId]) {
    if (name.length > GROUP_TEXT_CHARS_MAX || !namePattern.test(name)) {
      return `a member is named with 1 to ${GROUP_TEXT_CHARS_MAX} visible ASCII characters`;
    }
  }
  const isLong = [clientId, clientHost, rack].some(text => text.length > GROUP_TEXT_CHARS_MAX);
  return isLong ? `what a client says of itself has at most ${GROUP_TEXT_CHARS_MAX} characters` : null;
};

const topicsFault = ({ topics, topicPattern: pattern }: JoinRequest): string | null => {
  if ((topics === undefined) === (pattern === undefined)) return 'a member names either topics or a topic pattern';
  if (pattern !== undefined) {
    const read = topicPattern(pattern);
    return read.ok ? null : read.fault;
  }
  if (topics!.length < 1 || topics!.length > SUBSCRIBED_TOPICS_MAX) {
    return `a member names 1 to ${SUBSCRIBED_TOPICS_MAX} topics`;
  }
  for (const name of topics!) {
    const fault = topicNameFault(name);
    if (fault !== null) return fault;
  }
  return null;
};

/** With every default in its place. */
export const subscriptionOf = (request: JoinRequest): Result<Subscription, 'INVALID_REQUEST'> => {
  const sessionTimeoutMs = request.sessionTimeoutMs ?? GROUP_SESSION_MS_DEFAULT;
  const rebalanceTimeoutMs = request.rebalanceTimeoutMs ?? GROUP_REBALANCE_MS_DEFAULT;
  const fault =
    groupIdFault(request.groupId) ??
    textsFault(request) ??
    topicsFault(request) ??
    timeFault('the session time-out', sessionTimeoutMs, [GROUP_SESSION_MS_MIN, GROUP_SESSION_MS_MAX]) ??
    timeFault('the rebalance time-out', rebalanceTimeoutMs, [GROUP_REBALANCE_MS_MIN, GROUP_REBALANCE_MS_MAX]);
  if (fault !== null) return refused('INVALID_REQUEST', fault);
  return accepted({
    instanceId: request.instanceId ?? null,
    clientId: request.clientId ?? '',
    clientHost: request.clientHost ?? '',
    rack: request.rack ?? '',
    topics: Array.from(new Set(request.topics ?? [])).sort(),
    topicPattern: request.topicPattern ?? null,
    from: request.from ?? 'earliest',
    sessionTimeoutMs,
    rebalanceTimeoutMs,
    assignor: request.assignor ?? null,
    replacedMemberId: null,
  });
};

/** Two members with it have the same rights to partitions. */
export const isSameSubscription = (a: Subscription, b: Subscription): boolean =>
  a.topicPattern === b.topicPattern &&
  a.assignor === b.assignor &&
  a.topics.length === b.topics.length &&
  a.topics.every((name, index) => name === b.topics[index]);
