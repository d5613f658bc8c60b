// Patterns of topic names: regular expressions without what makes them slow. All states are followed at once (Thompson 1968), so a
// name takes at most its length times the pattern's, whatever a client sends.
//
//   pattern   alternative { "|" alternative }
//   part      atom [ "*" | "+" | "?" ]
//   atom      a character | "." | "[" [ "^" ] set "]" | "\" ( "." "-" "\" … | "d" | "w" ) | "(" [ "?:" ] pattern ")"
//
// A pattern has to match the whole name; "^" at its beginning and "$" at its end are allowed and say nothing. What other dialects
// know beyond this (counts, look-ahead, back-references) is refused, never taken for something else.

import { TOPIC_PATTERN_CHARS_MAX, TOPIC_PATTERN_DEPTH_MAX } from '../../base/limits.ts';

type Accepts = (code: number) => boolean;

/** A step that takes a character, or a fork that takes none; the last one is the end. */
type Step =
  | { readonly kind: 'take'; readonly accepts: Accepts; readonly next: number }
  | { readonly kind: 'fork'; next: number; readonly other: number }
  | { readonly kind: 'end' };

export interface TopicPattern {
  readonly text: string;
  matches(name: string): boolean;
}

class PatternFault extends Error {}

const isDigit: Accepts = code => code >= 0x30 && code <= 0x39;
const isWord: Accepts = code =>
  isDigit(code) || (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a) || code === 0x5f;
const isAny: Accepts = () => true;

/** Reads from left to right and gives, for each part, how it is built in front of a step that is there already. */
type Build = (program: Step[], next: number) => number;

const add = (program: Step[], step: Step): number => program.push(step) - 1;

const take =
  (accepts: Accepts): Build =>
  (program, next) =>
    add(program, { kind: 'take', accepts, next });

const chain =
  (parts: readonly Build[]): Build =>
  (program, next) =>
    parts.reduceRight((behind, part) => part(program, behind), next);

const either =
  (left: Build, right: Build): Build =>
  (program, next) =>
    add(program, { kind: 'fork', next: left(program, next), other: right(program, next) });

const repeated = (part: Build, sign: string): Build => {
  if (sign === '?') return (program, next) => add(program, { kind: 'fork', next: part(program, next), other: next });
  return (program, next) => {
    const fork: Step = { kind: 'fork', next, other: next };
    const at = add(program, fork);
    fork.next = part(program, at);
    return sign === '+' ? fork.next : at;
  };
};

class Parser {
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }

  whole(): Build {
    if (this.#peek === '^') this.#at++;
    const build = this.#alternatives();
    if (this.#peek === '$') this.#at++;
    if (this.#peek !== '') throw new PatternFault(`"${this.#peek}" at ${this.#at + 1} cannot stand there`);
    return build;
  }

  get #peek(): string {
    return this.#text.charAt(this.#at);
  }

  #alternatives(): Build {
    if (++this.#depth > TOPIC_PATTERN_DEPTH_MAX) throw new PatternFault('too many parentheses in each other');
    let build = this.#sequence();
    while (this.#peek === '|') {
      this.#at++;
      build = either(build, this.#sequence());
    }
    this.#depth--;
    return build;
  }

  #sequence(): Build {
    const parts: Build[] = [];
    for (let next = this.#peek; next !== '' && next !== '|' && next !== ')' && !this.#isLastDollar; next = this.#peek) {
      let part = this.#atom();
      while (this.#peek !== '' && '*+?'.includes(this.#peek)) part = repeated(part, this.#text.charAt(this.#at++));
      parts.push(part);
    }
    return chain(parts);
  }

  get #isLastDollar(): boolean {
    return this.#peek === '$' && this.#at === this.#text.length - 1;
  }

  #atom(): Build {
    const sign = this.#text.charAt(this.#at++);
    switch (sign) {
      case '.':
        return take(isAny);
      case '[':
        return take(this.#set());
      case '\\':
        return take(this.#escaped());
      case '(':
        return this.#parenthesis();
      default:
        if (/[\^$*+?{}\]]/.test(sign)) throw new PatternFault(`"${sign}" at ${this.#at} cannot stand there`);
        return take(only(sign));
    }
  }

  #parenthesis(): Build {
    if (this.#peek === '?') {
      if (this.#text.charAt(this.#at + 1) !== ':') throw new PatternFault('"(?" is known as "(?:" alone');
      this.#at += 2;
    }
    const build = this.#alternatives();
    if (this.#peek !== ')') throw new PatternFault('a parenthesis is not closed');
    this.#at++;
    return build;
  }

  #escaped(): Accepts {
    const sign = this.#text.charAt(this.#at++);
    if (sign === 'd') return isDigit;
    if (sign === 'w') return isWord;
    if (sign === '' || /[a-zA-Z0-9]/.test(sign)) throw new PatternFault(`"\\${sign}" is not known`);
    return only(sign);
  }

  #set(): Accepts {
    const isNegated = this.#peek === '^';
    if (isNegated) this.#at++;
    const parts: Accepts[] = [];
    while (this.#peek !== ']') {
      if (this.#peek === '') throw new PatternFault('a "[" is not closed');
      parts.push(this.#range());
    }
    this.#at++;
    if (parts.length === 0) throw new PatternFault('"[]" matches nothing');
    return code => parts.some(part => part(code)) !== isNegated;
  }

  #range(): Accepts {
    const sign = this.#text.charAt(this.#at++);
    if (sign === '\\') return this.#escaped();
    const to = this.#text.charAt(this.#at + 1);
    if (this.#peek !== '-' || to === ']' || to === '') return only(sign);
    if (to === '\\') throw new PatternFault('a range ends at a character');
    this.#at += 2;
    const [low, high] = [sign.charCodeAt(0), to.charCodeAt(0)];
    if (low > high) throw new PatternFault(`the range ${sign}-${to} is empty`);
    return code => code >= low && code <= high;
  }
}

const only = (sign: string): Accepts => {
  const wanted = sign.charCodeAt(0);
  return code => code === wanted;
};

/** The steps at which a character is taken, from `at` on; each is looked at once. */
const reach = (program: readonly Step[], at: number, seen: Uint8Array, found: number[]): void => {
  const open = [at];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (seen[next] === 1) continue;
    seen[next] = 1;
    const step = program[next]!;
    if (step.kind === 'fork') open.push(step.other, step.next);
    else found.push(next);
  }
};

const matches = (program: readonly Step[], start: number, name: string): boolean => {
  const seen = new Uint8Array(program.length);
  let now: number[] = [];
  reach(program, start, seen, now);
  for (let at = 0; at < name.length; at++) {
    const code = name.charCodeAt(at);
    const after: number[] = [];
    seen.fill(0);
    for (const index of now) {
      const step = program[index]!;
      if (step.kind === 'take' && step.accepts(code)) reach(program, step.next, seen, after);
    }
    if (after.length === 0) return false;
    now = after;
  }
  return now.some(index => program[index]!.kind === 'end');
};

/** The reason why a text is none, or the pattern. */
export const topicPattern = (
  text: string,
): { readonly ok: true; readonly value: TopicPattern } | { readonly ok: false; readonly fault: string } => {
  if (text.length === 0 || text.length > TOPIC_PATTERN_CHARS_MAX) {
    return { ok: false, fault: `a topic pattern has 1 to ${TOPIC_PATTERN_CHARS_MAX} characters` };
  }
  try {
    const program: Step[] = [{ kind: 'end' }];
    const start = new Parser(text).whole()(program, 0);
    return { ok: true, value: { text, matches: name => matches(program, start, name) } };
  } catch (cause) {
    if (!(cause instanceof PatternFault)) throw cause;
    return { ok: false, fault: `the topic pattern cannot be read: ${cause.message}` };
  }
};
