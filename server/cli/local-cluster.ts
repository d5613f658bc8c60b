// `npm run cluster`: three brokers on this machine, as processes of their own, for trying things out. Ctrl-C stops them all.
//
//   node N   http 127.0.0.1:808N, gRPC 909N, management 818N, peers 919N, data in ./data/cluster/node-N

import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import path from 'node:path';

const NODES = [1, 2, 3];
const LAUNCHER = path.join(import.meta.dirname, '..', 'sluice.cjs');
const cluster = NODES.map(node => `${node}@127.0.0.1:${9190 + node}`).join(',');

const startNode = (node: number): ChildProcess => {
  const settings: Readonly<Record<string, string>> = {
    'node-id': String(node),
    'data-dir': path.join('data', 'cluster', `node-${node}`),
    rack: `rack-${node}`,
    http: `127.0.0.1:${8080 + node}`,
    grpc: `127.0.0.1:${9090 + node}`,
    management: `127.0.0.1:${8180 + node}`,
    cluster,
  };
  const flags = Object.entries(settings).flatMap(([key, value]) => [`--${key}`, value]);
  // In a group of its own: the terminal's Ctrl-C reaches this process alone, and each broker is asked to stop once, whoever asks.
  const child = spawn(process.execPath, [LAUNCHER, 'start', ...flags], {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  for (const [stream, target] of [
    [child.stdout, process.stdout],
    [child.stderr, process.stderr],
  ] as const) {
    createInterface({ input: stream }).on('line', line => target.write(`${node} | ${line}\n`));
  }
  return child;
};

const children = NODES.map(startNode);
let left = children.length;
for (const [index, child] of children.entries()) {
  child.on('exit', code => {
    left--;
    process.stdout.write(`${NODES[index]!} | ended${code === 0 ? '' : ` with ${code}`}, ${left} left\n`);
    if (code !== 0) process.exitCode = 1;
  });
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    for (const child of children) child.kill('SIGTERM');
  });
}
