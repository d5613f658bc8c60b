// The broker's settings after flags, environment, file and defaults were merged and checked.

import type { LogLevel } from './base/logger.ts';
import type { ListenAddress } from './gateway/gateway.ts';

export interface Config {
  readonly dataDir: string;
  readonly nodeId: number;
  readonly rack: string;
  readonly http: ListenAddress;
  readonly grpc: ListenAddress;
  readonly management: ListenAddress;
  /** Origins beside the listener's own that may call the HTTP door, as scheme://host[:port]. */
  readonly allowOrigins: readonly string[];
  /** Host names beside loopback names and bound addresses under which the HTTP door may be reached. */
  readonly hostNames: readonly string[];
  /** Listening beyond loopback without authentication was asked for by name. */
  readonly insecure: boolean;
  readonly logLevel: LogLevel;
  /** Topic settings that apply where a topic has none of its own, checked. */
  readonly topicDefaults: Readonly<Record<string, string>>;
}

export const VERSION = '0.1.0';
