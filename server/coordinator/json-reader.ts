// Reads JSON that another node sent. Nothing throws: what is missing or of another kind makes the whole reader `isBroken`, the readers of
// its parts included, and the caller asks once, at the end.

import type { Facts } from '@sluice/protocol/errors';

interface Fault {
  isBroken: boolean;
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export class JsonReader {
  readonly #value: Readonly<Record<string, unknown>>;
  readonly #fault: Fault;

  private constructor(value: unknown, fault: Fault) {
    if (!isObject(value)) fault.isBroken = true;
    this.#value = isObject(value) ? value : {};
    this.#fault = fault;
  }

  static parse(bytes: Uint8Array): JsonReader {
    try {
      const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
      return new JsonReader(JSON.parse(text), { isBroken: false });
    } catch (fault) {
      if (!(fault instanceof SyntaxError)) throw fault;
      return new JsonReader(null, { isBroken: true });
    }
  }

  get isBroken(): boolean {
    return this.#fault.isBroken;
  }

  /** Something that was read makes no sense; gives `instead`, which nobody will look at. */
  fail<T>(instead: T): T {
    this.#fault.isBroken = true;
    return instead;
  }

  #member(name: string): unknown {
    return Object.hasOwn(this.#value, name) ? this.#value[name] : undefined;
  }

  text(name: string): string {
    const value = this.#member(name);
    return typeof value === 'string' ? value : this.fail('');
  }

  optionalText(name: string): string | undefined {
    const value = this.#member(name) ?? undefined;
    return value === undefined || typeof value === 'string' ? value : this.fail(undefined);
  }

  /** Neither missing nor null. */
  has(name: string): boolean {
    return (this.#member(name) ?? null) !== null;
  }

  number(name: string): number {
    const value = this.#member(name);
    return typeof value === 'number' ? value : this.fail(0);
  }

  optionalNumber(name: string): number | undefined {
    const value = this.#member(name) ?? undefined;
    return value === undefined || typeof value === 'number' ? value : this.fail(undefined);
  }

  /** A safe integer, not below zero. */
  count(name: string): number {
    const value = this.number(name);
    return Number.isSafeInteger(value) && value >= 0 ? value : this.fail(0);
  }

  boolean(name: string): boolean {
    const value = this.#member(name);
    return typeof value === 'boolean' ? value : this.fail(false);
  }

  object(name: string): JsonReader {
    return new JsonReader(this.#member(name), this.#fault);
  }

  list<T>(name: string, read: (reader: JsonReader) => T): readonly T[] {
    const value = this.#member(name);
    if (!Array.isArray(value)) return this.fail([]);
    return value.map(each => read(new JsonReader(each, this.#fault)));
  }

  texts(name: string): readonly string[] {
    const value = this.#member(name);
    return Array.isArray(value) && value.every(each => typeof each === 'string') ? value : this.fail([]);
  }

  numbers(name: string): readonly number[] {
    const value = this.#member(name);
    return Array.isArray(value) && value.every(each => typeof each === 'number') ? value : this.fail([]);
  }

  textMap(name: string): Readonly<Record<string, string>> | undefined {
    const map = this.nullableTextMap(name);
    if (map === undefined) return undefined;
    return Object.values(map).includes(null) ? this.fail({}) : (map as Readonly<Record<string, string>>);
  }

  nullableTextMap(name: string): Readonly<Record<string, string | null>> | undefined {
    const value = this.#member(name);
    if (value === undefined) return undefined;
    if (!isObject(value)) return this.fail({});
    const isMap = Object.values(value).every(each => each === null || typeof each === 'string');
    return isMap ? (value as Readonly<Record<string, string | null>>) : this.fail({});
  }

  facts(name: string): Facts {
    const value = this.#member(name);
    if (!isObject(value)) return this.fail({});
    const isFacts = Object.values(value).every(
      each => each === null || ['string', 'number', 'boolean'].includes(typeof each),
    );
    return isFacts ? (value as Facts) : this.fail({});
  }
}
