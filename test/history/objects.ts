// Small objects whose histories are judged: a register, and a text that grows.

import { IMPOSSIBLE, type Model } from './linearizability.ts';

export type RegisterInput =
  | { readonly kind: 'read' }
  | { readonly kind: 'write'; readonly value: number }
  | { readonly kind: 'compare-and-set'; readonly expected: number; readonly value: number };

/** Of a read the value (null: never written); of a write nothing; of a compare-and-set whether it took place. */
export type RegisterOutput = { readonly read: number | null } | { readonly done: boolean } | 'written';

export const register: Model<number | null, RegisterInput, RegisterOutput> = {
  initial: null,
  step(state, { input, output }) {
    switch (input.kind) {
      case 'read':
        if (output === undefined) return state;
        return typeof output === 'object' && 'read' in output && output.read === state ? state : IMPOSSIBLE;
      case 'write':
        return input.value;
      case 'compare-and-set': {
        const matches = state === input.expected;
        if (output !== undefined && !(typeof output === 'object' && 'done' in output && output.done === matches)) {
          return IMPOSSIBLE;
        }
        return matches ? input.value : state;
      }
    }
  },
  keyOf: String,
  isReadOnly: ({ input, output }) =>
    input.kind === 'read' || (output !== undefined && typeof output === 'object' && 'done' in output && !output.done),
};

export type TextInput =
  | { readonly kind: 'get' }
  | { readonly kind: 'put'; readonly text: string }
  | { readonly kind: 'append'; readonly text: string };

/** Of a get the text; of the others nothing that counts. */
export type TextOutput = string;

export const text: Model<string, TextInput, TextOutput> = {
  initial: '',
  step(state, { input, output }) {
    switch (input.kind) {
      case 'get':
        return output === undefined || output === state ? state : IMPOSSIBLE;
      case 'put':
        return input.text;
      case 'append':
        return state + input.text;
    }
  },
  keyOf: state => state,
  isReadOnly: ({ input }) => input.kind === 'get',
};
