// `sluice cluster describe`: who belongs to the cluster, and who controls it.
//
// As JSON a cluster is printed in the form in which the HTTP door describes it.

import { withClient } from './client.ts';
import type { CommandContext } from './command.ts';
import { printObject } from './result.ts';
import { renderTable } from './table.ts';

export const describeCluster = (context: CommandContext): Promise<number> =>
  withClient(context, async opened => {
    const { client, terminal } = opened;
    const { clusterId, controller, version, brokers } = await client.admin.cluster({ signal: terminal.interrupted });
    const rows = brokers.map(broker => [
      broker.nodeId,
      broker.state,
      broker.rack === '' ? '-' : broker.rack,
      broker.grpcAddress,
      broker.httpAddress,
      broker.nodeId === controller ? 'yes' : '',
    ]);
    const table = renderTable(['NODE', 'STATE', 'RACK', 'GRPC', 'HTTP', 'CONTROLLER'], rows);
    const object = {
      cluster_id: clusterId,
      controller,
      version,
      brokers: brokers.map(broker => ({
        node_id: broker.nodeId,
        rack: broker.rack,
        state: broker.state,
        http_address: broker.httpAddress,
        grpc_address: broker.grpcAddress,
      })),
    };
    const head = controller < 0 ? 'no controller is known' : `controller ${controller}`;
    await printObject(opened, object, `cluster ${clusterId}, ${head}\n\n${table}`);
    return 0;
  });
