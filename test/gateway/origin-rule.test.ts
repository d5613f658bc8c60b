// Which hosts and origins may use the door.

import { describe, expect, it } from 'vitest';
import { OriginRule } from '../../server/gateway/origin-rule.ts';

const rule = new OriginRule(['10.1.2.3'], ['broker.example'], ['https://app.example', 'http://localhost:3000/']);
const isAllowed = (host: string | undefined, origin?: string, localAddress = '127.0.0.1'): boolean =>
  rule.judge({ host, origin }, localAddress).refusal === null;

describe('hosts', () => {
  it.each(['localhost', 'LOCALHOST:8080', '127.0.0.1:1', '[::1]:8080', '[::1]', '10.1.2.3:8080', 'Broker.Example:80'])(
    '%s is ours',
    host => {
      expect(isAllowed(host)).toBe(true);
    },
  );

  it.each([undefined, '', 'evil.example', 'localhost.evil.example', '127.0.0.2', '10.1.2.4:8080', ':8080', '[::2]'])(
    '%s is not ours',
    host => {
      expect(isAllowed(host)).toBe(false);
    },
  );

  it('takes the address that the connection came in at', () => {
    expect(isAllowed('192.168.0.7:8080', undefined, '::ffff:192.168.0.7')).toBe(true);
    expect(isAllowed('192.168.0.7:8080', undefined, '192.168.0.8')).toBe(false);
    expect(isAllowed('[fe80::1]:8080', undefined, 'fe80::1')).toBe(true);
  });
});

describe('origins', () => {
  it('allows none, its own, and those named', () => {
    expect(isAllowed('localhost:8080')).toBe(true);
    expect(isAllowed('localhost:8080', 'http://localhost:8080')).toBe(true);
    expect(isAllowed('localhost:8080', 'https://app.example')).toBe(true);
    expect(isAllowed('localhost:8080', 'http://localhost:3000')).toBe(true);
  });

  it.each(['null', '', 'http://evil.example', 'http://localhost:8081', 'https://localhost:8080', 'http://app.example'])(
    'refuses %j',
    origin => {
      expect(isAllowed('localhost:8080', origin)).toBe(false);
    },
  );
});
