// What the k6 scripts are told by their environment, and what they share. Runs inside k6, not in Node.
//
//   SLUICE_HTTP, SLUICE_GRPC   where the broker listens           VUS        how many clients at once
//   DURATION                   of one scenario: 10s, 500ms, 2m    RECORDS    records in one request
//   BYTES                      length of a value                  P95_MS     what 95 % of the answers must not exceed

const UNIT_MS = { ms: 1, s: 1_000, m: 60_000 };

function whole(name, fallback) {
  const text = __ENV[name] || `${fallback}`;
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new Error(`${name} must be a whole number above 0, not ${text}`);
  return Number(text);
}

function milliseconds(name, fallback) {
  const text = __ENV[name] || fallback;
  const parts = /^([1-9]\d{0,6})(ms|s|m)$/.exec(text);
  if (parts === null) throw new Error(`${name} must be a duration such as 10s, not ${text}`);
  return Number(parts[1]) * UNIT_MS[parts[2]];
}

export function readSettings(defaults) {
  return {
    http: __ENV.SLUICE_HTTP || '127.0.0.1:8080',
    grpc: __ENV.SLUICE_GRPC || '127.0.0.1:9090',
    vus: whole('VUS', 4),
    durationMs: milliseconds('DURATION', '10s'),
    records: whole('RECORDS', defaults.records),
    valueBytes: whole('BYTES', 100),
    p95Ms: whole('P95_MS', defaults.p95Ms),
  };
}

/** A name that no other run has. */
export const newTopicName = script => `k6-${script}-${Date.now().toString(36)}-${Math.floor(Math.random() * 1e9)}`;

/** Printable text of that length. */
export function textOf(length) {
  let text = '';
  for (let index = 0; index < length; index++) text += String.fromCharCode(97 + (index % 26));
  return text;
}

/** For long-lived sessions: one a client, which ends itself when the time is over; stopped by force 20 s later. */
export const oneSessionEach = ({ vus, durationMs }, exec) => ({
  executor: 'per-vu-iterations',
  exec,
  vus,
  iterations: 1,
  maxDuration: `${durationMs + 20_000}ms`,
  gracefulStop: '1s',
});
