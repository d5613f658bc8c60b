// Consumer groups: members over HTTP, and groups from outside: list, describe, delete, and where they go on.

import type { GatewayContext } from '../gateway.ts';
import type {
  CommittedPosition,
  GroupAssignor,
  GroupMemberView,
  GroupPartitionView,
  GroupPosition,
  GroupSummary,
  GroupView,
  TopicPartitions,
} from '../../broker/groups.ts';
import { offset } from '@sluice/protocol/ids';
import type { Exchange } from './exchange.ts';
import { answer, readForm } from './form-body.ts';
import type { Handler, HandlerTable } from './handlers.ts';

interface PositionForm {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly leader_epoch?: number;
  readonly metadata?: string;
}

interface SetOffsetsForm {
  readonly offsets: readonly PositionForm[];
}

interface CommitForm extends SetOffsetsForm {
  readonly member_epoch: number;
}

interface HeartbeatForm {
  readonly member_epoch: number;
  readonly owned?: readonly TopicPartitions[];
}

interface JoinForm {
  readonly topics?: readonly string[];
  readonly topic_pattern?: string;
  readonly from?: 'earliest' | 'latest';
  readonly instance_id?: string;
  readonly client_id?: string;
  readonly session_timeout_ms?: number;
  readonly rebalance_timeout_ms?: number;
  readonly assignor?: GroupAssignor;
}

const groupOf = (exchange: Exchange): string => exchange.params['group'] ?? '';
const memberOf = (exchange: Exchange): string => exchange.params['member'] ?? '';

const clientHost = ({ request: { socket } }: Exchange): string =>
  `${socket.remoteAddress ?? ''}:${socket.remotePort ?? ''}`;

export const createGroupHandlers = (context: GatewayContext): HandlerTable => {
  const { groups } = context.broker;

  const listGroups: Handler = async (exchange, query) => {
    const page = await groups.list({
      prefix: String(query['prefix'] ?? ''),
      limit: Number(query['limit']),
      after: query['after'] === undefined ? null : String(query['after']),
    });
    answer(exchange, page, ({ groups: found, nextAfter }) => ({
      groups: found.map(renderSummary),
      next: nextAfter === null ? null : { after: nextAfter },
    }));
  };

  const getGroup: Handler = async exchange => {
    answer(exchange, await groups.describe(groupOf(exchange)), renderGroup);
  };

  const deleteGroup: Handler = async exchange => {
    const deleted = await groups.delete(groupOf(exchange));
    if (deleted.ok) exchange.empty(204);
    else exchange.problem(deleted.problem);
  };

  const getOffsets: Handler = async exchange => {
    const offsets = await groups.offsets({ group: groupOf(exchange) });
    answer(exchange, offsets, found => ({ offsets: found.map(renderPosition) }));
  };

  const setOffsets: Handler = async (exchange, query, operation) => {
    const form = await readForm<SetOffsetsForm>(exchange, operation);
    if (form === null) return;
    const set = await groups.setOffsets({
      group: groupOf(exchange),
      offsets: form.offsets.map(readPosition),
      isDryRun: query['dry_run'] === true,
    });
    answer(exchange, set, offsets => ({
      offsets: offsets.map(({ topic, partition, before, after }) => ({ topic, partition, before, after })),
    }));
  };

  const joinGroup: Handler = async (exchange, _query, operation) => {
    const form = await readForm<JoinForm>(exchange, operation);
    if (form === null) return;
    const group = groupOf(exchange);
    const joined = await groups.join({
      group,
      topics: form.topics,
      topicPattern: form.topic_pattern,
      from: form.from,
      instanceId: form.instance_id,
      clientId: form.client_id,
      clientHost: clientHost(exchange),
      sessionTimeoutMs: form.session_timeout_ms,
      rebalanceTimeoutMs: form.rebalance_timeout_ms,
      assignor: form.assignor,
    });
    if (!joined.ok) {
      exchange.problem(joined.problem);
      return;
    }
    const { memberId, memberEpoch, heartbeatIntervalMs, sessionTimeoutMs, from, assignment } = joined.value;
    const rendered = {
      member_id: memberId,
      member_epoch: memberEpoch,
      heartbeat_interval_ms: heartbeatIntervalMs,
      session_timeout_ms: sessionTimeoutMs,
      from,
      assignment,
    };
    const location = `/v1/groups/${encodeURIComponent(group)}/members/${encodeURIComponent(memberId)}`;
    exchange.json(201, rendered, { Location: location });
  };

  const heartbeat: Handler = async (exchange, query, operation) => {
    const form = await readForm<HeartbeatForm>(exchange, operation);
    if (form === null) return;
    const waitMs = Number(query['wait']);
    const answered = await groups.heartbeat({
      group: groupOf(exchange),
      memberId: memberOf(exchange),
      memberEpoch: form.member_epoch,
      owned: form.owned ?? null,
      waitMs,
      signal: waitMs > 0 ? exchange.signal : undefined,
    });
    if (exchange.isGone) return;
    answer(exchange, answered, ({ memberEpoch, assignment, revoking }) => ({
      member_epoch: memberEpoch,
      assignment,
      revoking,
    }));
  };

  const leaveGroup: Handler = async exchange => {
    const left = await groups.leave({ group: groupOf(exchange), memberId: memberOf(exchange) });
    if (left.ok) exchange.empty(204);
    else exchange.problem(left.problem);
  };

  const commitOffsets: Handler = async (exchange, _query, operation) => {
    const form = await readForm<CommitForm>(exchange, operation);
    if (form === null) return;
    const member = { memberId: memberOf(exchange), memberEpoch: form.member_epoch };
    const offsets = form.offsets.map(readPosition);
    const committed = await groups.commit({ group: groupOf(exchange), member, offsets });
    if (committed.ok) exchange.empty(204);
    else exchange.problem(committed.problem);
  };

  return {
    joinGroup: { verb: 'member', handle: joinGroup },
    heartbeat: { verb: 'member', handle: heartbeat },
    leaveGroup: { verb: 'member', handle: leaveGroup },
    commitOffsets: { verb: 'commit', handle: commitOffsets },
    listGroups: { verb: 'groups', handle: listGroups },
    getGroup: { verb: 'groups', handle: getGroup },
    deleteGroup: { verb: 'groups', handle: deleteGroup },
    getGroupOffsets: { verb: 'group_offsets', handle: getOffsets },
    setGroupOffsets: { verb: 'group_offsets', handle: setOffsets },
  };
};

const readPosition = (form: PositionForm): GroupPosition => ({
  topic: form.topic,
  partition: form.partition,
  offset: offset(form.offset),
  leaderEpoch: form.leader_epoch,
  metadata: form.metadata,
});

const renderSummary = ({ group, state, memberCount }: GroupSummary): Record<string, unknown> => ({
  group,
  state,
  member_count: memberCount,
});

const renderGroup = (view: GroupView): Record<string, unknown> => ({
  ...renderSummary(view),
  epoch: view.epoch,
  assignor: view.assignor,
  members: view.members.map(renderMember),
  partitions: view.partitions.map(renderPartition),
});

const renderMember = (member: GroupMemberView): Record<string, unknown> => ({
  member_id: member.memberId,
  member_epoch: member.memberEpoch,
  instance_id: member.instanceId,
  client_id: member.clientId,
  client_host: member.clientHost,
  rack: member.rack,
  topics: member.topics,
  topic_pattern: member.topicPattern,
  assignment: member.assignment,
  revoking: member.revoking,
  target: member.target,
});

const renderPartition = (row: GroupPartitionView): Record<string, unknown> => ({
  topic: row.topic,
  partition: row.partition,
  offset: row.offset,
  log_end_offset: row.logEndOffset,
  lag: row.lag,
  metadata: row.metadata,
  member_id: row.memberId,
});

const renderPosition = (position: CommittedPosition): Record<string, unknown> => ({
  topic: position.topic,
  partition: position.partition,
  offset: position.offset,
  leader_epoch: position.leaderEpoch,
  metadata: position.metadata,
  committed_at: position.committedAtMs,
});
