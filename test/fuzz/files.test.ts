/** Properties of the parsers of files: archives, catalogs, sums, receipts, requests and auth files. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import fc from 'fast-check';
import { readManifestJson } from '../../src/archive/read/docker-archive.js';
import type { Members } from '../../src/archive/read/members.js';
import { BundleFile } from '../../src/bundle/format/file.js';
import { readSums, type SumsLine } from '../../src/bundle/format/sums.js';
import { BundleReader } from '../../src/bundle/reader.js';
import { MemoryRange, RangeCursor, StreamCursor } from '../../src/io/byte-range.js';
import { isDigest, type Digest } from '../../src/oci/digest.js';
import { isRepositoryPath, isTag, parseReference } from '../../src/oci/reference.js';
import { formatReceipt, Receipt, type ReceiptEntry } from '../../src/receipts/receipt.js';
import { CredentialStore } from '../../src/registry/auth/credentials.js';
import { Request, writeRequest, type RequestedBlob } from '../../src/request/request.js';
import { decodePax, encodeHeader, encodePaxRecord, endLength, paddedLength } from '../../src/tar/header.js';
import { scanTar, type TarEntry } from '../../src/tar/scan.js';
import { tamper } from '../bundle/verify/tamper.js';
import { everyKind, writeBundle } from '../bundle/write-bundle.js';
import { temp } from '../support/temp.js';
import { digests, edited, editedBytes, everyInput, everyValue, parsed } from './hostile.js';

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

const names = fc.oneof(
  fc.constantFrom('oci-layout', `${'d/'.repeat(90)}x`, 'größe', `${'n'.repeat(150)}`),
  fc
    .string({ minLength: 1, maxLength: 30, unit: fc.constantFrom(...'abc/._-é=\n ') })
    .filter((name) => !name.endsWith('/')),
);
const archives = fc
  .array(fc.record({ name: names, content: fc.uint8Array({ maxLength: 600 }) }), {
    minLength: 1,
    maxLength: 4,
  })
  .map((entries) => {
    const blocks = entries.flatMap(({ name, content }) => [
      encodeHeader(name, content.length, 1),
      content,
      Buffer.alloc(paddedLength(content.length) - content.length),
    ]);
    return { entries, bytes: Buffer.concat([...blocks, Buffer.alloc(endLength)]) };
  });

describe('tar archives', () => {
  test('entries are read as they are written', async () => {
    await everyValue(
      archives,
      async ({ entries, bytes }) => {
        const found = await all(scanTar(new RangeCursor(new MemoryRange(bytes)), 'a.tar', 100));
        assert.deepEqual(
          found.map(({ name, offset, size }) => [name, bytes.subarray(offset, offset + size)]),
          entries.map(({ name, content }) => [name, Buffer.from(content)]),
        );
      },
      { seed: 21 },
    );
    await everyValue(
      fc.tuple(
        fc.constantFrom('path', 'size', 'GNU.sparse.x'),
        fc.string({ unit: 'grapheme', maxLength: 120 }),
      ),
      ([key, value]) => assert.deepEqual([...(decodePax(encodePaxRecord(key, value)) ?? [])], [[key, value]]),
      { seed: 22 },
    );
  });

  test('every entry lies within its archive, by position and as a stream, or the archive is refused', async () => {
    const small = fc.oneof(
      archives.map(({ bytes }) => bytes),
      archives.map(({ bytes }) => bytes.subarray(0, 512)),
    );
    const kinds = [
      'L',
      'K',
      'x',
      'g',
      'S',
      '1',
      '2',
      '5',
      '\x80',
      'ustar  \0',
      '7777777',
      'path=',
      '12 path=a\n',
    ];
    await everyInput(
      editedBytes(small, kinds),
      async (bytes) => {
        const range = new RangeCursor(new MemoryRange(bytes));
        const stream = new StreamCursor(new MemoryRange(bytes).stream());
        const scan = (cursor: RangeCursor | StreamCursor): Promise<{ value?: TarEntry[] }> =>
          parsed(() => all(scanTar(cursor, 'a.tar', 100)), 'input', 'damaged', 'unsupported');
        const [{ value }, { value: streamed }] = [await scan(range), await scan(stream)];
        const places = (entries: TarEntry[] | undefined): unknown =>
          entries?.map(({ name, kind, offset, size }) => [name, kind, offset, size]);
        assert.deepEqual(places(value), places(streamed));
        for (const { offset, size } of value ?? []) assert.ok(offset + size <= bytes.length);
        return value !== undefined;
      },
      { seed: 23, runs: 800 },
    );
  });
});

const manifestJson = fc
  .array(
    fc.record({
      Config: fc.constantFrom('a.json', 'blobs/sha256/x'),
      RepoTags: fc.option(fc.array(fc.constantFrom('busybox:1', 'a/b:2'), { maxLength: 2 })),
      Layers: fc.array(fc.constantFrom('a/layer.tar', '../x'), { maxLength: 2 }),
      LayerSources: fc.option(
        fc.dictionary(digests, fc.record({ mediaType: fc.constant('x'), digest: digests, size: fc.nat() }), {
          maxKeys: 1,
        }),
      ),
    }),
    { maxLength: 3 },
  )
  .map((list) => JSON.stringify(list));

test('manifest.json of a docker-archive lists texts, or is refused', async () => {
  const words = ['"Config":', '"RepoTags":', '"Layers":', 'null', '"schemaVersion":2,', '{', '[', ','];
  await everyInput(
    edited(manifestJson, words),
    async (text) => {
      const members: Members = {
        file: 'a.tar',
        missingHint: undefined,
        find: () => Promise.resolve(new MemoryRange(Buffer.from(text))),
        below: () => {
          throw new Error('nothing lists a folder');
        },
        close: () => Promise.resolve(),
      };
      const { value } = await parsed(() => readManifestJson(members), 'input');
      if (value?.by !== 'docker') return value !== undefined;
      for (const { config, tags, layers, sources } of value.images) {
        for (const item of [config, ...tags, ...layers]) assert.equal(typeof item, 'string');
        for (const { digest } of sources.values()) assert.ok(isDigest(digest));
      }
      return true;
    },
    { seed: 24 },
  );
});

describe('files', () => {
  const dir = temp({ after });

  test('lines of SHA256SUMS are read as they are written, and others are malformed', async () => {
    const path = join(dir, 'sums');
    const read = async (text: string): Promise<(SumsLine | undefined)[]> => {
      writeFileSync(path, text, 'latin1');
      const file = await BundleFile.open(path, 'r');
      try {
        const entry = {
          name: 'sums',
          size: text.length,
          type: '0',
          position: 0,
          contentPosition: 0,
          end: text.length,
        };
        return await all(readSums(file, entry));
      } finally {
        await file.close();
      }
    };
    const lines = fc.array(
      fc.record(
        {
          hex: fc.nat(0xffff).map((number) => number.toString(16).padStart(64, '0')),
          name: fc.constantFrom('index.json', 'airlift/catalog.db', '-', ' x'),
        },
        { noNullPrototype: true },
      ),
      { minLength: 1, maxLength: 4 },
    );
    const format = (list: SumsLine[]): string => list.map(({ hex, name }) => `${hex}  ${name}\n`).join('');
    await everyValue(lines, async (list) => assert.deepEqual(await read(format(list)), list), {
      seed: 25,
      runs: 100,
    });
    await everyInput(
      edited(lines.map(format), ['  ', ' *', '\n', 'abcdef']),
      async (text) => {
        const found = await read(Buffer.from(text).toString('latin1'));
        for (const line of found)
          if (line !== undefined) assert.match(line.hex, /^[0-9a-f]{64}([0-9a-f]{64})?$/);
        return !found.includes(undefined);
      },
      { seed: 26, runs: 150 },
    );
  });

  const entries = fc.array(
    fc.record(
      {
        repository: fc.constantFrom('acme/a', 'library/busybox'),
        tag: fc.option(fc.constantFrom('1', 'v2'), { nil: undefined }),
        digest: digests.map((text) => text as Digest),
        content: fc.constantFrom('index', 'layer', 'manifest', 'linux/arm/v7'),
      },
      { noNullPrototype: true },
    ),
    { maxLength: 4 },
  );
  const head = {
    kind: 'receipt',
    registry: 'r.example:5000/x',
    time: '2024-05-06T07:08:09Z',
    airlift: '1.0',
  } as const;

  test('a receipt is read as it is written, or is refused', async () => {
    const path = join(dir, 'receipt');
    const read = async (text: string): Promise<ReceiptEntry[]> => {
      writeFileSync(path, text);
      return all((await Receipt.open(path)).entries());
    };
    await everyValue(
      entries,
      async (list) => {
        const text = formatReceipt(head, list);
        assert.equal(formatReceipt(head, await read(text)), text);
      },
      { seed: 27, runs: 40 },
    );
    await everyInput(
      edited(
        entries.map((list) => formatReceipt(head, list)),
        ['\n', ' ', '@', ':', '#', 'time: ', 'registry: ', 'airlift sent 1\n', 'sha256:'],
      ),
      async (text) => {
        const { value } = await parsed(() => read(text), 'input', 'unsupported');
        for (const { repository, tag, digest } of value ?? [])
          assert.ok(isRepositoryPath(repository) && (tag === undefined || isTag(tag)) && isDigest(digest));
        return value !== undefined;
      },
      { seed: 28, runs: 200 },
    );
  });

  test('a request is read as it is written, or is refused', async () => {
    const path = join(dir, 'request');
    const blobs = fc.uniqueArray(
      fc.record(
        {
          digest: digests.map((text) => text as Digest),
          size: fc.option(fc.nat(), { nil: undefined }),
          images: fc.array(fc.constantFrom('r.example/a:1', 'busybox').map(parseReference), { maxLength: 3 }),
        },
        { noNullPrototype: true },
      ),
      { maxLength: 3, selector: ({ digest }) => digest },
    );
    const header = { bundle: 'site.tar', head: true };
    const textOf = async (list: readonly RequestedBlob[]): Promise<string> => {
      await writeRequest(path, header, list);
      return readFileSync(path, 'utf8');
    };
    const samples: string[] = [];
    await everyValue(
      blobs,
      async (list) => {
        samples.push(await textOf(list));
        assert.deepEqual(await all((await Request.open(path)).blobs()), list);
      },
      { seed: 29, runs: 40 },
    );
    await everyInput(
      edited(fc.constantFrom(...samples), [
        '\n',
        ' ',
        '#',
        'blob ',
        'image ',
        'head',
        'sums ',
        'bundle ',
        'sha256:',
        'o',
      ]),
      async (text) => {
        writeFileSync(path, text);
        const { value } = await parsed(() => Request.open(path), 'usage', 'input', 'unsupported');
        if (value === undefined) return false;
        const list = await all(value.blobs());
        assert.equal(list.length, value.totals.blobs);
        for (const { digest } of list) assert.ok(isDigest(digest));
        const again = await textOf(list);
        assert.equal(await textOf(await all((await Request.open(path)).blobs())), again);
        return true;
      },
      { seed: 30, runs: 200 },
    );
  });

  test('an auth file gives credentials or is refused, and no message quotes a secret', async () => {
    const path = join(dir, 'auth.json');
    const secret = 'c2VjcmV0OnNlY3JldC13b3Jk';
    const valid = fc.constantFrom(
      `{"auths": {"https://index.docker.io/v1/": {"auth": "${secret}"}, "r.example": {"identitytoken": "secret-word"}}}`,
      `{"auths": {"r.example/acme": {"username": "u", "password": "secret-word"}, "r.example": {"auth": "${secret}"}}}`,
    );
    await everyInput(
      edited(valid, ['"auths":', '"auth":', '"r.example":', '{', '}', ',', 'null', '="', '"']),
      async (text) => {
        writeFileSync(path, text);
        const store = new CredentialStore({
          authFiles: [path],
          explicit: undefined,
          hosts: {},
          warn: assert.fail,
        });
        try {
          const found = await store.find('r.example', 'acme/x');
          if (found?.kind === 'password')
            assert.equal(typeof found.username + typeof found.password, 'stringstring');
          return found !== undefined;
        } catch (error) {
          assert.doesNotMatch(String(error), /secret|c2Vjc/);
          return (await parsed(() => Promise.reject(error as Error), 'input')).value !== undefined;
        }
      },
      { seed: 31, runs: 200 },
    );
  });

  test('a catalog with changed bytes and sums that agree is refused, or all of its rows are valid', async () => {
    const path = join(dir, 'whole.tar');
    await writeBundle(path, everyKind().slice(0, 4));
    const whole = readFileSync(path);
    let catalog: Buffer = Buffer.alloc(0);
    await tamper(path, (bytes) => (catalog = bytes));
    const changed = join(dir, 'changed.tar');
    const flips = fc.array(fc.tuple(fc.oneof(fc.nat(catalog.length - 1), fc.nat(4095)), fc.nat(255)), {
      minLength: 1,
      maxLength: 3,
    });
    await everyValue(
      flips,
      async (list) => {
        writeFileSync(changed, whole);
        await tamper(changed, (bytes) => {
          for (const [at, byte] of list) bytes[at] = byte;
          return bytes;
        });
        const { value: reader } = await parsed(() => BundleReader.open(changed), 'damaged', 'unsupported');
        if (reader === undefined) return;
        for (const { digest, size } of reader.blobs()) assert.ok(isDigest(digest) && size >= 0);
        for (const { reference } of reader.images()) assert.ok(isRepositoryPath(reference.repository));
        await reader.close();
      },
      { seed: 32, runs: 60 },
    );
  });
});
