/**
 * Measures the cost of the journal in an export: the time that the main thread spends in SQLite, including waits for the disk.
 *
 *     npm run build && node dist/test/bench/journal-cost.js [--rounds 3] [--small]
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import Database from 'better-sqlite3';
import { exportBundle } from '../../src/export/export.js';
import { parseReference } from '../../src/oci/reference.js';
import { run } from '../support/peers.js';
import { fullShape, serveCorpus, smallShape } from './corpus.js';

const repository = fileURLToPath(new URL('../../../', import.meta.url));

let spent = 0;
let calls = 0;
let depth = 0;

function timed<Result>(work: () => Result): Result {
  const startTime = performance.now();
  depth++;
  try {
    return work();
  } finally {
    depth--;
    if (depth === 0) {
      spent += performance.now() - startTime;
      calls++;
    }
  }
}

/** Wraps methods of a prototype to measure their time. */
function measureMethods(prototype: object, names: readonly string[]): void {
  const methods = prototype as Record<string, (...args: unknown[]) => unknown>;
  for (const name of names) {
    const method = methods[name];
    if (method === undefined) throw new Error(`better-sqlite3 has no ${name}`);
    methods[name] = function (...args) {
      return timed(() => method.apply(this, args));
    };
  }
}

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '3' }, small: { type: 'boolean', default: false } },
});
const memory = new Database(':memory:');
measureMethods(Object.getPrototypeOf(memory.prepare('SELECT 1')) as object, ['run', 'get', 'all', 'iterate']);
measureMethods(Database.prototype, ['prepare', 'exec', 'pragma', 'close']);
memory.close();

const dir = join(repository, 'bench-out', values.small ? 'small' : 'full');
mkdirSync(dir, { recursive: true });
const { registry, corpus } = await serveCorpus(join(dir, 'images'), values.small ? smallShape : fullShape);
try {
  const output = join(dir, 'journal-cost.tar');
  for (let round = 1; round <= Number(values.rounds); round++) {
    rmSync(output, { force: true });
    await run('sync', []);
    [spent, calls] = [0, 0];
    const startTime = performance.now();
    await exportBundle({
      images: corpus.images.map((image) => ({ reference: parseReference(`${registry.host}/${image}`) })),
      output,
      created: new Date(0),
      registry: {},
    });
    const whole = performance.now() - startTime;
    console.log(
      `round ${round}: export ${(whole / 1000).toFixed(2)} s, SQLite ${spent.toFixed(0)} ms in ${calls} calls: ` +
        `${((100 * spent) / whole).toFixed(2)} %`,
    );
  }
  rmSync(output, { force: true });
} finally {
  await registry.stop();
}
