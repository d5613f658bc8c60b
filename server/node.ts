// The composition root: one broker from its settings. The only file that may import everything of the server but the
// command line.

import { VERSION, type Config } from './config.ts';
import { BODY_BUDGET_BYTES, OUTGOING_BYTES_MAX, STREAM_PIECES_PER_TURN } from './base/limits.ts';
import type { Logger } from './base/logger.ts';
import { createMetrics } from './base/metrics.ts';
import { StartRefusal } from './base/start-refusal.ts';
import { checkTopicConfig } from './base/topic-config.ts';
import type { Broker } from './broker/broker.ts';
import { LocalBroker } from './broker/local-broker.ts';
import { openFileCatalogue } from './broker/topic-catalogue.ts';
import { BodyBudget } from './gateway/body-budget.ts';
import type { GatewayContext, Listener } from './gateway/gateway.ts';
import { LoopShare } from './gateway/loop-share.ts';
import { OutgoingBudget } from './gateway/outgoing-budget.ts';
import { RecordFeeds } from './gateway/record-feed.ts';
import { listenGrpc } from './gateway/grpc/listen.ts';
import { listenManagement } from './gateway/management/listen.ts';
import { OriginRule } from './gateway/origin-rule.ts';
import { listenRest } from './gateway/rest/listen.ts';
import { WebSocketDoor } from './gateway/websocket/door.ts';
import { realClock } from './io/real/clock.ts';
import { realDirectoryLocks } from './io/real/directory-lock.ts';
import { realDisk } from './io/real/disk.ts';
import { realRandom } from './io/real/random.ts';
import { DataDirectory } from './storage/data-directory.ts';

export interface RunningNode {
  /** HOST:PORT as bound. */
  readonly addresses: { readonly http: string; readonly grpc: string; readonly management: string };
  readonly clusterId: string;
  readonly broker: Broker;
  /** Ends long reads with a notice, answers what is under way, makes everything durable. */
  stop(): Promise<void>;
}

/** Throws StartRefusal or ListenFailure with nothing left behind. */
export const startNode = async (config: Config, logger: Logger): Promise<RunningNode> => {
  const topicDefaults = checkTopicConfig(config.topicDefaults);
  if (!topicDefaults.ok) throw new StartRefusal('settings', `topic-defaults: ${topicDefaults.problem.detail}`);
  const metrics = createMetrics();
  const directory = await DataDirectory.open({
    disk: realDisk,
    clock: realClock,
    random: realRandom,
    locks: realDirectoryLocks,
    path: config.dataDir,
    nodeId: config.nodeId,
    logger,
    onSync: seconds => metrics.syncSeconds.observe(seconds),
    storeFailed(fault) {
      // Nothing promised after this could be kept: the process ends, and the supervisor sees it.
      logger.fatal({ fault: fault.message }, 'the store of the node cannot be written');
      queueMicrotask(() => {
        throw fault;
      });
    },
  });
  const addresses = { http: '', grpc: '', management: '' };
  const opened: (() => Promise<void>)[] = [() => directory.close()];
  const undo = async (): Promise<void> => {
    for (const close of opened.toReversed()) await close();
  };
  try {
    const broker = new LocalBroker({
      directory,
      catalogue: await openFileCatalogue(realDisk, config.dataDir),
      clock: realClock,
      random: realRandom,
      logger,
      topicDefaults: topicDefaults.value,
      version: VERSION,
      rack: config.rack,
      addresses: () => addresses,
    });
    opened.push(() => broker.close());
    metrics.reportFrom(() => broker.report());
    const outgoing = new OutgoingBudget(realClock, OUTGOING_BYTES_MAX);
    const bodyBudget = new BodyBudget(BODY_BUDGET_BYTES);
    metrics.reportBodiesFrom(() => bodyBudget.usedBytes);
    metrics.reportOutgoingFrom(() => outgoing.report());
    const loopShare = new LoopShare(realClock, STREAM_PIECES_PER_TURN);
    const context: GatewayContext = {
      broker,
      clock: realClock,
      random: realRandom,
      logger,
      metrics,
      bodyBudget,
      outgoing,
      loopShare,
      recordFeeds: new RecordFeeds(broker, loopShare),
      version: VERSION,
    };
    const management = await listenManagement(context, { listen: config.management });
    opened.push(() => management.close());
    await broker.open();
    const originRule = OriginRule.of({ ...config, host: config.http.host });
    const webSocket = new WebSocketDoor(context, originRule);
    const rest = await listenRest(context, { listen: config.http, originRule, upgradeDoor: webSocket });
    opened.push(() => rest.close());
    // Before the socket that its connections came from: that one waits for them.
    opened.push(() => webSocket.close());
    const grpc = await listenGrpc(context, { listen: config.grpc });
    opened.push(() => grpc.close());
    addresses.http = rest.address;
    addresses.grpc = grpc.address;
    addresses.management = management.address;
    const stop = async (): Promise<void> => {
      const doors: readonly Pick<Listener, 'drain'>[] = [rest, webSocket, grpc];
      const drained = Promise.all(doors.map(door => door.drain()));
      broker.drain();
      await drained;
      await undo();
      metrics.registry.clear();
    };
    let stopping: Promise<void> | null = null;
    return {
      addresses,
      clusterId: directory.identity.clusterId,
      broker,
      stop: () => (stopping ??= stop()),
    };
  } catch (cause) {
    await undo();
    throw cause;
  }
};
