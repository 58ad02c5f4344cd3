import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { test, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { archiveImages } from '../../src/import/into-bundle.js';
import { isAirliftError } from '../../src/errors.js';
import { everyKind, writeBundle } from '../bundle/write-bundle.js';
import { airliftPath } from '../support/airlift.js';
import { needs } from '../support/peers.js';
import { temp } from '../support/temp.js';

const run = promisify(execFile);

async function bundleIn(t: TestContext): Promise<{ dir: string; path: string }> {
  const dir = temp(t);
  const path = join(dir, 'site.tar');
  await writeBundle(path, everyKind());
  return { dir, path };
}

test('a compressed bundle is refused with the command that decompresses it, not read without its catalog', async (t) => {
  const { path } = await bundleIn(t);
  const packed = gzipSync(await readFile(path));
  await writeFile(`${path}.gz`, packed);
  await assert.rejects(archiveImages({ inputs: [`${path}.gz`] }), (error) => {
    assert.ok(isAirliftError(error, 'input'));
    assert.match(error.message, /: the bundle is compressed with gzip; want it uncompressed$/);
    assert.equal(error.hint, `decompress it first: gzip -dc ${path}.gz > ${path}`);
    return true;
  });
  const archives = { stdin: Readable.from([packed.subarray(0, 50), packed.subarray(50)]) };
  await assert.rejects(archiveImages({ inputs: ['-'], archives }), (error) => {
    assert.ok(isAirliftError(error, 'input'));
    assert.equal(error.hint, 'decompress it first: gzip -dc FILE | airlift import -');
    return true;
  });
});

test('a compressed bundle in a pipe that has a path is refused too', { skip: needs('gzip') }, async (t) => {
  const { dir, path } = await bundleIn(t);
  const script = 'gzip -c "$3" | "$1" "$2" import /dev/fd/0 -o "$4" --dry-run';
  await assert.rejects(
    run('sh', ['-c', script, 'sh', process.execPath, airliftPath, path, join(dir, 'new.tar')]),
    (error: Error & { readonly code?: unknown; readonly stderr?: string; readonly stdout?: string }) => {
      assert.equal(error.code, 1);
      assert.equal(error.stdout, '');
      assert.equal(
        error.stderr,
        'reading /dev/fd/0\nopen /dev/fd/0: the bundle is compressed with gzip; want it uncompressed\n' +
          '  hint: decompress it first: gzip -dc FILE | airlift import -\n',
      );
      return true;
    },
  );
});

test('an unpacked or repacked bundle is read with a warning', { skip: needs('tar') }, async (t) => {
  const { dir, path } = await bundleIn(t);
  const unpacked = join(dir, 'unpacked');
  await mkdir(unpacked);
  await run('tar', ['xf', path, '-C', unpacked]);
  const repacked = join(dir, 'repacked.tar');
  await run('tar', ['cf', repacked, '-C', unpacked, '.']);
  for (const input of [unpacked, repacked]) {
    const warnings: string[] = [];
    const images = await archiveImages({
      inputs: [input],
      onEvent: (event) => {
        if (event.event === 'warning') warnings.push(event.message);
      },
    });
    assert.ok(images.length > 5);
    assert.match(
      warnings.join('\n'),
      /is an unpacked or repacked airlift bundle: reading it as an OCI layout/,
    );
  }
});
