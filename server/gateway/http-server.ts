// The HTTP/1.1 server of Node with its requests and responses, and the words of its status codes, for every door that speaks
// HTTP/1.1.
//
// Not an import: whoever imports values of node:http as an ES module has all its exports read, and three of them (the
// browser's WebSocket and its events) load a whole HTTP client with TLS, a fifth of a broker's start and ten megabytes.

export const {
  createServer: createHttpServer,
  IncomingMessage: HttpRequest,
  ServerResponse: HttpResponse,
  STATUS_CODES,
} = process.getBuiltinModule('node:http');
