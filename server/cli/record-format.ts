// `consume --format`: what is printed of each record. The letters are rpk's, and kcat's `%s` for the value:
//
//   %t topic  %p partition  %o offset  %e leader epoch  %d timestamp in ms  %% a percent sign
//   %k key    %v %s value   %K %V their lengths in bytes (0 for null)
//   %h headers as name=value, with commas between; %h{…} prints the braces' content once a header, with its %k %v %K %V
//   \n \t \r \\ and \xNN as in C
//
// Keys and values are printed as the bytes that they are; null prints nothing. A format is compiled once to a list of
// steps. Anything else after % or \ is wrong usage, so that a letter that comes later is never printed as text today.

import type { Header, Message } from '@sluice/client';
import type { OutputBuffer } from './output-buffer.ts';

export type RecordWriter = (message: Message, output: OutputBuffer) => void;

export type CompiledFormat =
  | { readonly ok: true; readonly write: RecordWriter }
  | { readonly ok: false; readonly reason: string };

type Step<T> = (from: T, output: OutputBuffer) => void;

const recordSteps: Readonly<Record<string, Step<Message>>> = {
  t: (message, output) => output.text(message.topic),
  p: (message, output) => output.text(String(message.partition)),
  o: (message, output) => output.text(String(message.offset)),
  e: (message, output) => output.text(String(message.leaderEpoch)),
  d: (message, output) => output.text(String(message.timestamp)),
  k: (message, output) => bytes(message.keyBytes, output),
  v: (message, output) => bytes(message.valueBytes, output),
  s: (message, output) => bytes(message.valueBytes, output),
  K: (message, output) => output.text(String(message.keyBytes?.length ?? 0)),
  V: (message, output) => output.text(String(message.valueBytes?.length ?? 0)),
};

const headerSteps: Readonly<Record<string, Step<Header>>> = {
  k: (header, output) => output.text(header.key),
  v: (header, output) => bytes(header.value, output),
  s: (header, output) => bytes(header.value, output),
  K: (header, output) => output.text(String(Buffer.byteLength(header.key))),
  V: (header, output) => output.text(String(header.value?.length ?? 0)),
};

const escapes: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', '\\': '\\' };

export const compileFormat = (format: string): CompiledFormat => {
  const compiler = new Compiler(format);
  try {
    const steps = compiler.record();
    return { ok: true, write: sequence(steps) };
  } catch (error) {
    if (error instanceof FormatFault) return { ok: false, reason: error.message };
    throw error;
  }
};

class FormatFault extends Error {}

class Compiler {
  private readonly format: string;
  private at = 0;

  constructor(format: string) {
    this.format = format;
  }

  record(): Step<Message>[] {
    return this.steps(letter => (letter === 'h' ? this.headers() : recordSteps[letter]), null);
  }

  private headers(): Step<Message> {
    if (this.format[this.at] !== '{') return writeHeaderList;
    this.at++;
    const write = sequence(this.steps(letter => headerSteps[letter], '}'));
    return (message, output) => {
      for (const header of message.headers) write(header, output);
    };
  }

  /** Up to `end`, or to the end of the format where that is null. */
  private steps<T>(stepOf: (letter: string) => Step<T> | undefined, end: string | null): Step<T>[] {
    const steps: Step<T>[] = [];
    let literal: Buffer[] = [];
    const endLiteral = (): void => {
      if (literal.length === 0) return;
      const joined = Buffer.concat(literal);
      literal = [];
      steps.push((_, output) => output.raw(joined));
    };
    while (this.at < this.format.length) {
      const character = String.fromCodePoint(this.format.codePointAt(this.at)!);
      this.at += character.length;
      if (character === end) {
        endLiteral();
        return steps;
      }
      if (character === '\\') literal.push(this.escape());
      else if (character !== '%') literal.push(Buffer.from(character, 'utf8'));
      else {
        const letter = this.format[this.at++];
        if (letter === undefined) throw new FormatFault('the format ends after %; a percent sign is %%');
        if (letter === '%') {
          literal.push(Buffer.from('%'));
          continue;
        }
        const step = stepOf(letter);
        if (step === undefined) {
          const where = end === null ? 'letters are t p o e d k v s K V h' : 'in %h{…} letters are k v s K V';
          throw new FormatFault(`%${letter} means nothing; the ${where} and %%`);
        }
        endLiteral();
        steps.push(step);
      }
    }
    if (end !== null) throw new FormatFault('%h{ has no closing }');
    endLiteral();
    return steps;
  }

  private escape(): Buffer {
    const letter = this.format[this.at++];
    if (letter === 'x') {
      const digits = this.format.slice(this.at, this.at + 2);
      if (!/^[0-9a-fA-F]{2}$/.test(digits)) throw new FormatFault('\\x needs two hexadecimal digits, as in \\x1f');
      this.at += 2;
      return Buffer.from(digits, 'hex');
    }
    const escaped = letter === undefined ? undefined : escapes[letter];
    if (escaped === undefined)
      throw new FormatFault(`\\${letter ?? ''} means nothing; there are \\n \\t \\r \\\\ and \\xNN`);
    return Buffer.from(escaped);
  }
}

const sequence =
  <T>(steps: readonly Step<T>[]): Step<T> =>
  (from, output) => {
    for (const step of steps) step(from, output);
  };

const bytes = (field: Uint8Array | null, output: OutputBuffer): void => {
  if (field !== null) output.raw(field);
};

const writeHeaderList = (message: Message, output: OutputBuffer): void => {
  let separator = '';
  for (const { key, value } of message.headers) {
    output.text(`${separator}${key}=`);
    bytes(value, output);
    separator = ',';
  }
};
