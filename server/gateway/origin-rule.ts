// Who may talk to the HTTP door: the rule against web pages that post to a loopback port.
//
// Any page in a browser can send a request to 127.0.0.1, and one that rebinds its own name to that address can read the
// answer too. So the host name a request was sent to must be one of ours, and a request that says which page it comes
// from (Origin) must come from ourselves or from an origin that was allowed by name. Both are judged before anything
// else, for every method. Programs that are not browsers send no Origin and are not concerned.

import type { Problem } from '@sluice/protocol/errors';
import { problem } from '@sluice/protocol/errors';

export interface OriginVerdict {
  readonly refusal: Problem | null;
  /** The origin that the answer is to be readable for; null when there is none to name. */
  readonly origin: string | null;
}

const LOOPBACK_NAMES = ['localhost', '127.0.0.1', '[::1]'];
const WITHOUT_ORIGIN: OriginVerdict = { refusal: null, origin: null };

/** Of a request; Node has joined or dropped repeats. */
export interface JudgedHeaders {
  readonly host?: string | undefined;
  readonly origin?: string | undefined;
}

export class OriginRule {
  readonly #hostNames: ReadonlySet<string>;
  readonly #allowedOrigins: ReadonlySet<string>;

  /** The rule of a listener. */
  static of(options: {
    readonly host: string;
    readonly hostNames: readonly string[];
    readonly allowOrigins: readonly string[];
  }): OriginRule {
    const { host, hostNames, allowOrigins } = options;
    return new OriginRule([host, host.includes(':') ? `[${host}]` : host], hostNames, allowOrigins);
  }

  constructor(boundHosts: readonly string[], hostNames: readonly string[], allowOrigins: readonly string[]) {
    this.#hostNames = new Set([...LOOPBACK_NAMES, ...boundHosts, ...hostNames].map(name => name.toLowerCase()));
    this.#allowedOrigins = new Set(allowOrigins.map(origin => origin.toLowerCase().replace(/\/$/, '')));
  }

  /** `localAddress` is the one that the connection came in at: a listener on all addresses has many. */
  judge(headers: JudgedHeaders, localAddress: string | undefined): OriginVerdict {
    const { host, origin } = headers;
    if (host === undefined || !this.#isOurs(hostName(host), localAddress)) {
      const detail =
        host === undefined
          ? 'the request has no Host'
          : `the host ${JSON.stringify(host)} is not a name of this broker; start it with --host-name to allow it`;
      return { refusal: problem('ORIGIN_NOT_ALLOWED', detail), origin: null };
    }
    if (origin === undefined) return WITHOUT_ORIGIN;
    const lowered = origin.toLowerCase();
    if (lowered === `http://${host.toLowerCase()}` || this.#allowedOrigins.has(lowered))
      return { refusal: null, origin };
    const detail = `the origin ${JSON.stringify(origin)} is not allowed; start the broker with --allow-origin to allow it`;
    return { refusal: problem('ORIGIN_NOT_ALLOWED', detail), origin: null };
  }

  #isOurs(name: string, localAddress: string | undefined): boolean {
    if (this.#hostNames.has(name)) return true;
    if (localAddress === undefined) return false;
    // IPv4 clients of a dual-stack listener.
    const address = localAddress.replace(/^::ffff:(?=\d+\.)/, '');
    return name === (address.includes(':') ? `[${address}]` : address);
  }
}

/** The name in lower case, without the port; brackets of an IPv6 address stay. */
const hostName = (host: string): string => {
  const colon = host.lastIndexOf(':');
  const name = colon > host.lastIndexOf(']') ? host.slice(0, colon) : host;
  return name.toLowerCase();
};
