#!/usr/bin/env node
// The launcher: plain old JavaScript that any Node can parse, so that one which is too old says so in one line instead
// of a syntax error. It prepares what must be set before anything else runs, then hands over to main.ts.
'use strict';

var NEEDED = [22, 18];
// Storage syncs and reads run in the thread pool: with the default of 4, four slow syncs would stop every read.
var POOL_THREADS = '16';
// Of the heap's young generation, both halves: enough for what a thousand readers have under way between two collections.
var YOUNG_BYTES_MAX = 32 * 1024 * 1024;
var YOUNG_LOOK_MS = 500;

var found = process.versions.node.split('.').map(Number);
if (found[0] < NEEDED[0] || (found[0] === NEEDED[0] && found[1] < NEEDED[1])) {
  process.stderr.write(
    'sluice: needs Node ' +
      NEEDED.join('.') +
      ' or later, found ' +
      process.versions.node +
      ' at ' +
      process.execPath +
      '\n',
  );
  process.exit(1);
}

// The pool reads it when it is first used, which loading a module may already be.
if (!process.env.UV_THREADPOOL_SIZE) process.env.UV_THREADPOOL_SIZE = POOL_THREADS;

// Batches are buffers outside the heap, short-lived and large. By default V8 takes every 64 MiB of them for a reason to
// collect the whole heap; counted into the limit of the heap instead, they cost half the processor time a record
// (bench/one-broker.ts). That limit is up to four times what was in use at the last collection: right for a heap of a few
// MiB, hundreds of MiB too many for the cache of the newest batches and what it has let go. Half as much again is collected
// about as often while records come fast, and bounds the rest (decision 20, bench/load/stalled.ts).
// Other versions may not know the flags, and would say so at every start.
if (found[0] === 24) {
  var v8 = require('node:v8');
  v8.setFlagsFromString('--external-memory-accounted-in-global-limit');
  v8.setFlagsFromString('--heap-growing-percent=50');
  if (process.argv[2] === 'start') boundYoungGeneration(v8);
}

// The young generation doubles each time when as much as it holds has survived, which a broker at work brings to 128 MiB before
// long. Its bound can only be set before a process begins; how much it grows by can be set at any time. Once it is large
// enough it therefore grows by nothing, and as ever when V8 has made it small again, as it does in an idle process.
function boundYoungGeneration(v8) {
  var factor = 2;
  setInterval(function () {
    var young = v8.getHeapSpaceStatistics().find(function (space) {
      return space.space_name === 'new_space';
    });
    var wanted = young && young.space_size >= YOUNG_BYTES_MAX ? 1 : 2;
    if (wanted === factor) return;
    factor = wanted;
    v8.setFlagsFromString('--semi-space-growth-factor=' + factor);
  }, YOUNG_LOOK_MS).unref();
}

// Stripping types from a few hundred files costs more than half of a start; the cache keeps the result between starts.
// It lies in the user's own cache folder: one that others can write to could be given code by them. Without one (a user
// who has no home) every start compiles.
try {
  var path = require('node:path');
  var cache = process.env.XDG_CACHE_HOME || path.join(require('node:os').homedir(), '.cache');
  require('node:module').enableCompileCache(path.join(cache, 'sluice'));
} catch {
  // Slower, and right.
}

// The published package holds compiled JavaScript, because Node strips no types below node_modules; the clone has none.
var isCompiled = require('node:fs').existsSync(require('node:path').join(__dirname, 'main.js'));

import(isCompiled ? './main.js' : './main.ts').catch(function (error) {
  // Anything else is main's own to judge: thrown again, it ends there.
  if (!error || error.code !== 'ERR_MODULE_NOT_FOUND') throw error;
  var advice = isCompiled ? 'install the package again' : 'run `npm ci` first';
  process.stderr.write('sluice: a part is missing, ' + advice + ' (' + error.message + ')\n');
  process.exit(1);
});
