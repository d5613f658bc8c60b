// What may be asked of the coordinator of a group, by name, and how each is judged. Topics are named by their ids; how commands cross from one
// node to another is in group-message.ts.

import type { ErrorCode } from '@sluice/protocol/errors';
import { unreachable } from '../../base/assert.ts';
import { type Decided, decided } from '../../state/decision.ts';
import type { ClusterImage } from '../../state/cluster/image.ts';
import {
  describeGroup,
  type GroupDescription,
  type GroupListing,
  listGroups,
  type ListRequest,
} from '../../state/groups/group-description.ts';
import type { GroupsState } from '../../state/groups/groups-state.ts';
import {
  heartbeat,
  type HeartbeatRequest,
  join,
  leave,
  type MemberAnswer,
  type Speaker,
} from '../../state/groups/membership.ts';
import {
  commitOffsets,
  type CommitRequest,
  deleteGroup,
  type FetchedOffset,
  fetchOffsets,
  type OffsetPlace,
  type ResetOffset,
  resetOffsets,
  type ResetRequest,
} from '../../state/groups/offsets.ts';
import type { GroupRecord } from '../../state/groups/record.ts';
import type { JoinRequest } from '../../state/groups/subscription.ts';

/** Of the metadata that who asks knows: the coordinator waits until it knows as much, as far as topics matter. */
interface Informed {
  readonly metadataVersion: number;
}

/** Each verb with what it asks and what it is told. */
export interface GroupVerbs {
  join: { readonly request: JoinRequest & Informed; readonly response: MemberAnswer };
  /** Answered when there is news for the member, or after `waitMs`. */
  heartbeat: { readonly request: HeartbeatRequest & { readonly waitMs: number }; readonly response: MemberAnswer };
  leave: { readonly request: Speaker; readonly response: null };
  commit: { readonly request: CommitRequest & Informed; readonly response: null };
  fetchOffsets: {
    readonly request: { readonly groupId: string; readonly places?: readonly OffsetPlace[] | undefined };
    readonly response: readonly FetchedOffset[];
  };
  reset: { readonly request: ResetRequest & Informed; readonly response: readonly ResetOffset[] };
  delete: { readonly request: { readonly groupId: string }; readonly response: { readonly isDone: boolean } };
  describe: { readonly request: { readonly groupId: string }; readonly response: GroupDescription };
  list: { readonly request: ListRequest; readonly response: readonly GroupListing[] };
}

export type GroupVerb = keyof GroupVerbs;

export type GroupCommand = {
  [V in GroupVerb]: { readonly verb: V; readonly request: GroupVerbs[V]['request'] };
}[GroupVerb];

export type GroupResponse = GroupVerbs[GroupVerb]['response'];

export interface GroupCommandContext {
  readonly image: ClusterImage;
  readonly nowMs: number;
}

export const judgeGroupCommand = (
  state: GroupsState,
  command: GroupCommand,
  context: GroupCommandContext,
): Decided<GroupRecord, GroupResponse, ErrorCode> => {
  switch (command.verb) {
    case 'join':
      return join(state, command.request, context);
    case 'heartbeat':
      return heartbeat(state, command.request);
    case 'leave':
      return leave(state, command.request, context);
    case 'commit':
      return commitOffsets(state, command.request, context);
    case 'fetchOffsets':
      return decided([], fetchOffsets(state, command.request));
    case 'reset':
      return resetOffsets(state, command.request, context);
    case 'delete':
      return deleteGroup(state, command.request.groupId);
    case 'describe': {
      const described = describeGroup(state, command.request.groupId);
      return described.ok ? decided([], described.value) : described;
    }
    case 'list':
      return decided([], listGroups(state, command.request));
    default:
      return unreachable(command);
  }
};

/** The least that the coordinator has to know of the metadata. */
export const metadataVersionOf = (command: GroupCommand): number =>
  command.verb === 'join' || command.verb === 'commit' || command.verb === 'reset'
    ? command.request.metadataVersion
    : 0;

/** Whose sign of life it is, when it is accepted. */
export const speakerOf = (command: GroupCommand): Speaker | null => {
  switch (command.verb) {
    case 'join':
    case 'heartbeat':
      return command.request;
    case 'commit': {
      const { groupId, member } = command.request;
      return member === undefined ? null : { groupId, memberId: member.memberId };
    }
    case 'leave':
    case 'fetchOffsets':
    case 'reset':
    case 'delete':
    case 'describe':
    case 'list':
      return null;
    default:
      return unreachable(command);
  }
};
