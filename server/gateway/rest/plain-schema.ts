// The everyday part of JSON Schema as plain functions: enough for what most requests are, and there at once, where compiling
// schemas first loads a compiler (a sixth of all code of a broker).
//
// Guarantees: a yes is certain, and the value would be left as it is. Anything else (a keyword that is not here, a default to be filled in,
// a value that is wrong) is for the compiled schema to judge and to word.

/** True when the schema certainly allows the value. */
export type PlainJudge = (value: unknown) => boolean;

export type PlainSchema = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const types: Readonly<Record<string, PlainJudge>> = {
  string: value => typeof value === 'string',
  number: value => typeof value === 'number' && Number.isFinite(value),
  integer: Number.isInteger,
  boolean: value => typeof value === 'boolean',
  null: value => value === null,
  object: isObject,
};

const both =
  (one: PlainJudge, other: PlainJudge): PlainJudge =>
  value =>
    one(value) && other(value);

/** Null when the schema says something that is not judged here. */
export const plainJudge = (schema: PlainSchema): PlainJudge | null => {
  let judge: PlainJudge = () => true;
  for (const [keyword, wanted] of Object.entries(schema)) {
    const next = keywordJudge(keyword, wanted, schema);
    if (next === null) return null;
    judge = both(judge, next);
  }
  return judge;
};

/** A keyword that belongs to one type allows all values of the others. */
const keywordJudge = (keyword: string, wanted: unknown, schema: PlainSchema): PlainJudge | null => {
  switch (keyword) {
    case 'description':
    // Whether it must be filled in is asked where the member may be missing.
    case 'default':
      return () => true;
    case 'type':
      return typeJudge(wanted);
    case 'enum':
      return value => typeof value === 'string' && (wanted as readonly unknown[]).includes(value);
    case 'minimum':
      return value => typeof value !== 'number' || value >= (wanted as number);
    case 'maximum':
      return value => typeof value !== 'number' || value <= (wanted as number);
    case 'minLength':
      // Counted in characters, of which one may be two units.
      return value =>
        typeof value !== 'string' || value.length >= (wanted as number) * ((wanted as number) > 1 ? 2 : 1);
    case 'maxLength':
      return value => typeof value !== 'string' || value.length <= (wanted as number);
    case 'pattern': {
      const pattern = new RegExp(wanted as string, 'u');
      return value => typeof value !== 'string' || pattern.test(value);
    }
    case 'required':
      return value => !isObject(value) || (wanted as readonly string[]).every(name => value[name] !== undefined);
    case 'properties':
      return membersJudge(wanted as Readonly<Record<string, PlainSchema>>);
    case 'additionalProperties':
      return othersJudge(wanted as PlainSchema | boolean, schema['properties'] ?? {});
    default:
      return null;
  }
};

const typeJudge = (wanted: unknown): PlainJudge | null => {
  const names = Array.isArray(wanted) ? (wanted as readonly string[]) : [wanted as string];
  const judges: PlainJudge[] = [];
  for (const name of names) {
    const judge = Object.hasOwn(types, name) ? types[name] : undefined;
    if (judge === undefined) return null;
    judges.push(judge);
  }
  return value => judges.some(judge => judge(value));
};

const membersJudge = (schemas: Readonly<Record<string, PlainSchema>>): PlainJudge | null => {
  const judges: (readonly [string, PlainJudge])[] = [];
  for (const [name, schema] of Object.entries(schemas)) {
    const judge = plainJudge(schema);
    // What is missing would be filled in.
    if (judge === null || 'default' in schema) return null;
    judges.push([name, judge]);
  }
  return value => !isObject(value) || judges.every(([name, judge]) => value[name] === undefined || judge(value[name]));
};

const othersJudge = (schema: PlainSchema | boolean, properties: object): PlainJudge | null => {
  const judge = typeof schema === 'boolean' ? (): boolean => schema : plainJudge(schema);
  if (judge === null) return null;
  return value => {
    if (!isObject(value)) return true;
    for (const name in value) if (!Object.hasOwn(properties, name) && !judge(value[name])) return false;
    return true;
  };
};
