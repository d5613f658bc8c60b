// An application of Express, put together as `express()` does it, from Express's own parts, without those that nothing here uses.
//
// The package's front door also loads parsers for bodies, a server of static files and what they need: 40 of its 90 files, 30 ms of every
// start. And it gives each request and response another prototype, with methods that nothing here calls, after which V8 has
// forgotten what it learned of their shapes: here it is the one they have, which costs nothing.

import { EventEmitter } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import type { Application } from 'express';
import { HttpRequest, HttpResponse } from '../http-server.ts';

interface ApplicationParts extends Application {
  init(): void;
  handle(request: IncomingMessage, response: ServerResponse, next?: (error?: unknown) => void): void;
}

const parts = createRequire(import.meta.url)('express/lib/application.js') as ApplicationParts;

export type ExpressApplication = Application & ((request: IncomingMessage, response: ServerResponse) => void);

export const expressApplication = (): ExpressApplication => {
  const application = ((request: IncomingMessage, response: ServerResponse): void =>
    application.handle(request, response)) as ApplicationParts;
  Object.assign(application, EventEmitter.prototype, parts, {
    request: HttpRequest.prototype,
    response: HttpResponse.prototype,
  });
  application.init();
  return application as ExpressApplication;
};
