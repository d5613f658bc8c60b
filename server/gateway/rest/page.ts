// The page at `/`: one document without outside resources.
//
// Its script and its style stand inside it and are allowed by their hashes, and nothing else is: what a record holds
// cannot run even if it got into the document as markup. The page may talk to its own origin, and no other may frame it.

import { createHash } from 'node:crypto';
import { assert } from '../../base/assert.ts';
import type { HandlerTable } from './handlers.ts';

export interface Page {
  readonly html: string;
  /** The value of Content-Security-Policy. */
  readonly policy: string;
}

/** Of the text that a browser finds between the tags. */
const hashOf = (html: string, tag: 'script' | 'style'): string => {
  const start = html.indexOf(`<${tag}>`) + tag.length + 2;
  const end = html.indexOf(`</${tag}>`);
  assert(start > tag.length + 1 && end > start, `the page has a ${tag}`);
  return `'sha256-${createHash('sha256').update(html.slice(start, end)).digest('base64')}'`;
};

export const readPage = (html: string): Page => ({
  html,
  policy: [
    "default-src 'none'",
    `script-src ${hashOf(html, 'script')}`,
    `style-src ${hashOf(html, 'style')}`,
    "connect-src 'self'",
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
});

export const createPageHandlers = ({ html, policy }: Page): HandlerTable => {
  const headers = {
    'Content-Security-Policy': policy,
    'Referrer-Policy': 'no-referrer',
  };
  return {
    getPage: {
      verb: 'page',
      handle: exchange => exchange.answer(200, 'text/html; charset=utf-8', html, headers),
    },
  };
};
