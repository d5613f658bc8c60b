// GroupService: consumer groups. Membership is a stream (member.ts); everything else checks its numbers, asks the broker and renders.

import { create } from '@bufbuild/protobuf';
import type { ServerDuplexStream, UntypedServiceImplementation } from '@grpc/grpc-js';
import { accepted, refused, type Result } from '@sluice/protocol/errors';
import { offset } from '@sluice/protocol/ids';
import type {
  CommitGroupOffsetsRequest,
  CommitGroupOffsetsResponse,
  DeleteGroupRequest,
  DeleteGroupResponse,
  DescribeGroupRequest,
  FetchGroupOffsetsRequest,
  FetchGroupOffsetsResponse,
  GroupDescription,
  ListGroupsRequest,
  ListGroupsResponse,
  MemberRequest,
  MemberResponse,
  ResetGroupOffsetsRequest,
  ResetGroupOffsetsResponse,
} from '@sluice/protocol/services';
import {
  CommitGroupOffsetsResponseSchema,
  DeleteGroupResponseSchema,
  FetchGroupOffsetsResponseSchema,
  GroupSummarySchema,
  ListGroupsResponseSchema,
  ResetEnd,
  ResetGroupOffsetsResponseSchema,
  ResetPositionSchema,
} from '@sluice/protocol/services';
import { GROUP_PAGE_DEFAULT, GROUP_PAGE_MAX } from '../../base/limits.ts';
import type { Groups, ResetTarget } from '../../broker/groups.ts';
import type { GatewayContext } from '../gateway.ts';
import { groupDescription, readPartitions, readPositions, wirePosition } from './group-message.ts';
import { MemberCall } from './member.ts';
import type { OpenCalls } from './open-calls.ts';
import type { ReadGates } from './read-gate.ts';
import { naturalNumber } from './safe-number.ts';
import { unary } from './unary.ts';

export const groupService = (
  context: GatewayContext,
  { calls, gates }: { readonly calls: OpenCalls; readonly gates: ReadGates },
): UntypedServiceImplementation => {
  const { groups } = context.broker;
  const door = { context, verb: 'group', metrics: context.metrics.verb('grpc', 'group') };
  const metrics = context.metrics.verb('grpc', 'member');
  return {
    member: (call: ServerDuplexStream<MemberRequest, MemberResponse>): void =>
      new MemberCall(context, call, { gate: gates.of(call.metadata), calls, metrics }).start(),
    listGroups: unary(door, (request: ListGroupsRequest) => listGroups(groups, request)),
    describeGroup: unary(door, (request: DescribeGroupRequest) => describeGroup(groups, request)),
    deleteGroup: unary(door, (request: DeleteGroupRequest) => deleteGroup(groups, request)),
    fetchGroupOffsets: unary(door, (request: FetchGroupOffsetsRequest) => fetchOffsets(groups, request)),
    commitGroupOffsets: unary(door, (request: CommitGroupOffsetsRequest) => commitOffsets(groups, request)),
    resetGroupOffsets: unary(door, (request: ResetGroupOffsetsRequest) => resetOffsets(groups, request)),
  };
};

const listGroups = async (groups: Groups, request: ListGroupsRequest): Promise<Result<ListGroupsResponse>> => {
  const { prefix, limit, after } = request;
  if (limit < 0 || limit > GROUP_PAGE_MAX) {
    return refused('INVALID_REQUEST', `limit ${limit} is not in the range of 1 to ${GROUP_PAGE_MAX}`);
  }
  const page = await groups.list({
    prefix,
    limit: limit === 0 ? GROUP_PAGE_DEFAULT : limit,
    after: after === '' ? null : after,
  });
  if (!page.ok) return page;
  const summaries = page.value.groups.map(summary => create(GroupSummarySchema, summary));
  const message = create(ListGroupsResponseSchema, { groups: summaries });
  if (page.value.nextAfter !== null) message.nextAfter = page.value.nextAfter;
  return accepted(message);
};

const describeGroup = async (groups: Groups, { group }: DescribeGroupRequest): Promise<Result<GroupDescription>> => {
  const described = await groups.describe(group);
  return described.ok ? accepted(groupDescription(described.value)) : described;
};

const deleteGroup = async (groups: Groups, { group }: DeleteGroupRequest): Promise<Result<DeleteGroupResponse>> => {
  const deleted = await groups.delete(group);
  return deleted.ok ? accepted(create(DeleteGroupResponseSchema)) : deleted;
};

const fetchOffsets = async (
  groups: Groups,
  { group, partitions }: FetchGroupOffsetsRequest,
): Promise<Result<FetchGroupOffsetsResponse>> => {
  const places = readPartitions(partitions);
  if (!places.ok) return places;
  const fetched = await groups.offsets({ group, places: partitions.length === 0 ? undefined : places.value });
  if (!fetched.ok) return fetched;
  return accepted(create(FetchGroupOffsetsResponseSchema, { offsets: fetched.value.map(wirePosition) }));
};

const commitOffsets = async (
  groups: Groups,
  { group, offsets }: CommitGroupOffsetsRequest,
): Promise<Result<CommitGroupOffsetsResponse>> => {
  const positions = readPositions(offsets);
  if (!positions.ok) return positions;
  const committed = await groups.commit({ group, offsets: positions.value });
  return committed.ok ? accepted(create(CommitGroupOffsetsResponseSchema)) : committed;
};

const resetOffsets = async (
  groups: Groups,
  request: ResetGroupOffsetsRequest,
): Promise<Result<ResetGroupOffsetsResponse>> => {
  const { group, topic, partitions, dryRun } = request;
  const to = readTarget(request.to);
  if (!to.ok) return to;
  const some = partitions.length === 0 ? undefined : partitions;
  const reset = await groups.reset({ group, topic, partitions: some, to: to.value, isDryRun: dryRun });
  if (!reset.ok) return reset;
  const positions = reset.value.map(({ partition, before, after }) =>
    create(ResetPositionSchema, {
      partition,
      after: BigInt(after),
      ...(before === null ? {} : { before: BigInt(before) }),
    }),
  );
  return accepted(create(ResetGroupOffsetsResponseSchema, { positions }));
};

const readTarget = (to: ResetGroupOffsetsRequest['to']): Result<ResetTarget, 'INVALID_REQUEST'> => {
  switch (to.case) {
    case 'end':
      if (to.value === ResetEnd.EARLIEST) return accepted({ kind: 'earliest' });
      if (to.value === ResetEnd.LATEST) return accepted({ kind: 'latest' });
      return refused('INVALID_REQUEST', `there is no end ${to.value as number}`);
    case 'offset': {
      const at = naturalNumber(to.value);
      if (at === null) return refused('INVALID_REQUEST', 'offset is in the range of 0 to 2^53 - 1');
      return accepted({ kind: 'offset', offset: offset(at) });
    }
    case 'timestampMs': {
      const timestampMs = naturalNumber(to.value);
      if (timestampMs === null) return refused('INVALID_REQUEST', 'timestamp_ms is in the range of 0 to 2^53 - 1');
      return accepted({ kind: 'timestamp', timestampMs });
    }
    case 'shiftBy': {
      const by = Number(to.value);
      if (!Number.isSafeInteger(by)) return refused('INVALID_REQUEST', 'shift_by is less than 2^53, either way');
      return accepted({ kind: 'shift', by });
    }
    case undefined:
      return refused('INVALID_REQUEST', 'a reset says where to: end, offset, timestamp_ms or shift_by');
  }
};
