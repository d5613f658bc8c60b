// Why bytes are no metadata that this node can follow: damaged, or written by a newer one. Thrown inside the decoders alone,
// which give it to their callers as a value.

export type UndecodableKind = 'damaged' | 'newer';

export class Undecodable extends Error {
  readonly kind: UndecodableKind;

  constructor(kind: UndecodableKind, detail: string) {
    super(detail);
    this.kind = kind;
  }
}

export type Decoding<T> =
  | { readonly ok: true; readonly value: T }
  /** `newer`: whoever meets it must not go on without it; the node needs a newer release. */
  | { readonly ok: false; readonly kind: UndecodableKind; readonly detail: string };

export const decoding = <T>(decode: () => T): Decoding<T> => {
  try {
    return { ok: true, value: decode() };
  } catch (cause) {
    if (!(cause instanceof Undecodable)) throw cause;
    return { ok: false, kind: cause.kind, detail: cause.message };
  }
};

export const damaged = (detail: string): Undecodable => new Undecodable('damaged', detail);
