/** Interruptions end all work within a second, with one error, and a failed opening closes its files. */
import assert from 'node:assert/strict';
import { closeSync, openSync, readdirSync, readlinkSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openArchive } from '../src/archive/read/open.js';
import { Scratch } from '../src/archive/io/scratch.js';
import { exportBundle } from '../src/export/export.js';
import { importImages } from '../src/import/import.js';
import { openInputs } from '../src/merge/open-inputs.js';
import { verify } from '../src/verify.js';
import { MarkBatcher } from '../src/bundle/journal/progress.js';
import { digestOf } from '../src/oci/digest.js';
import { smallImage } from './registry/content.js';
import { serveContent } from './registry/content-server.js';
import { sendFault } from './registry/odd-server.js';
import { needs } from './support/peers.js';
import { startAirlift } from './support/started.js';
import { tarOf } from './support/tar.js';
import { onTerminal } from './support/terminal.js';
import { temp } from './support/temp.js';
import { until } from './support/until.js';

/** Writes an uncompressed tar of empty files in pieces. */
function manyEntries(path: string, entries: number): void {
  const file = openSync(path, 'w');
  const piece = tarOf(
    Array.from({ length: 1000 }, (_, at) => ({ name: `f${at}`, content: Buffer.alloc(0) })),
  );
  // Without the two zero blocks at the end.
  const headers = piece.subarray(0, 1000 * 512);
  for (let at = 0; at < entries; at += 1000) writeSync(file, headers);
  writeSync(file, Buffer.alloc(1024));
  closeSync(file);
}

/** Returns the number of open files of this process whose path starts with `directory`. */
function openBelow(directory: string): number {
  return readdirSync('/proc/self/fd').filter((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`).startsWith(directory);
    } catch {
      return false;
    }
  }).length;
}

test('the scan of a plain tar with many entries stops on an interruption', async (t) => {
  const path = join(temp(t), 'many.tar');
  manyEntries(path, 200_000);
  const stop = new AbortController();
  const opening = openArchive(path, { signal: stop.signal });
  opening.catch(() => undefined);
  setImmediate(() => stop.abort());
  const begun = performance.now();
  await assert.rejects(opening, { code: 'interrupted' });
  assert.ok(performance.now() - begun < 10_000, `took ${Math.round(performance.now() - begun)} ms`);
});

for (const args of [
  ['import', '{}', '--to', '127.0.0.1:1'],
  ['import', '{}', '-o', '{}.bundle'],
  ['save', '{}', '--format', 'oci-archive', '-o', '{}.oci'],
]) {
  test(`Ctrl-C ends ${args[0] ?? ''} ${args[2] ?? ''} within a second, with 130 and how to resume`, async (t) => {
    const path = join(temp(t), 'many.tar');
    manyEntries(path, 600_000);
    const run = startAirlift(args.map((arg) => arg.replace('{}', path)));
    // The command is reading once the archive is open.
    const isOpen = (): boolean =>
      readdirSync(`/proc/${run.pid}/fd`).some((name) => {
        try {
          return readlinkSync(`/proc/${run.pid}/fd/${name}`) === path;
        } catch {
          return false;
        }
      });
    await until('the archive is open', isOpen);
    const begun = performance.now();
    run.send('SIGINT');
    const { code, stderr } = await run.ended;
    assert.equal(code, 130, stderr);
    assert.ok(performance.now() - begun < 10_000, `took ${Math.round(performance.now() - begun)} ms`);
    assert.match(stderr, /hint: run the same command again/);
    assert.doesNotMatch(stderr, /\n +at |AbortError/);
  });
}

test('Ctrl-C at the prompt of login ends it with 130', { skip: needs('python3') }, async () => {
  const terminal = onTerminal(['login', '127.0.0.1:1', '-u', 'jane']);
  await terminal.until(/password/i);
  terminal.type('\u0003');
  const { code, shown } = await terminal.ended;
  assert.equal(code, 130, shown);
  assert.match(shown, /interrupted/);
  assert.doesNotMatch(shown, /\n +at |AbortError/);
});

test(
  'opening that fails half way leaves no file open',
  { skip: process.platform === 'linux' ? false : 'needs /proc' },
  async (t) => {
    const directory = temp(t);
    const bad = join(directory, 'bad.tar');
    writeFileSync(bad, tarOf([{ name: 'hello.txt', content: 'no image' }]));
    const good = join(directory, 'also.tar');
    writeFileSync(good, tarOf([{ name: 'manifest.json', content: '[]' }]));
    await assert.rejects(openInputs({ inputs: [bad] }));
    await assert.rejects(openInputs({ inputs: [good, bad] }));
    await assert.rejects(
      importImages({
        inputs: [good],
        to: { registry: 'r.test' },
        registry: { caFile: join(directory, 'none') },
      }),
    );
    await assert.rejects(Scratch.create(join(directory, 'missing')));
    assert.equal(openBelow(directory), 0);
  },
);

test('verify refuses a wrong number of jobs, and a wrong option of import leaves no file open', async (t) => {
  const image = smallImage('verified');
  const held = [image.layer, image.config, image.manifest, image.index];
  const server = await serveContent(t, held, image.index);
  const output = join(temp(t), 'a.tar');
  const reference = { registry: server.host, repository: 'a', tag: '1' };
  await exportBundle({ images: [{ reference }], output, created: new Date(0), registry: {} });
  for (const jobs of [0, -1, NaN]) await assert.rejects(verify(output, { jobs }), { code: 'usage' });
  assert.equal((await verify(output, { jobs: 1 })).ok, true);
  // Files that are already open are closed after an error in an option.
  const registry = { proxy: { https: 'socks5://proxy.test' } };
  await assert.rejects(importImages({ inputs: [output], to: { registry: 'r.test' }, registry }), {
    code: 'usage',
  });
  if (process.platform === 'linux') assert.equal(openBelow(output), 0);
});

test('a failed last flush of marks is reported as its cause, not as missing blobs', async () => {
  const full = Object.assign(new Error('database or disk is full'), { code: 'SQLITE_FULL' });
  let isTried = false;
  const marks = new MarkBatcher('a.tar.partial.journal', () => {
    isTried = true;
    throw full;
  });
  marks.complete(digestOf(Buffer.from('blob')));
  await until('the marks are flushed by their timer', () => isTried);
  assert.throws(() => marks.flush(), { code: 'no-space' });
});

test('a blob that one repository lost comes from another that has it, and no image is dropped', async (t) => {
  const image = smallImage('two homes');
  const held = [image.layer, image.config, image.manifest, image.index];
  const requestedFrom: string[] = [];
  const server = await serveContent(t, held, image.index, ({ name, path }, response) => {
    if (name !== image.layer.descriptor.digest) return false;
    requestedFrom.push(path.split('/')[2] ?? '');
    if (!path.includes('/lossy/')) return false;
    sendFault(response, 404, 'UNKNOWN');
    return true;
  });
  for (const keepGoing of [true, false]) {
    requestedFrom.length = 0;
    const output = join(temp(t), 'a.tar');
    const images = ['lossy', 'whole'].map((repository) => ({
      reference: { registry: server.host, repository, tag: '1' },
    }));
    // The first image plans to fetch the blob from its repository.
    const lossyFirst = { images, output, created: new Date(0), registry: { retries: 0 }, keepGoing };
    const summary = await exportBundle(lossyFirst);
    assert.equal(summary.images, 2);
    assert.deepEqual(summary.failed, []);
    assert.equal((await verify(output)).ok, true);
    assert.ok(requestedFrom.includes('whole'));
  }
});
