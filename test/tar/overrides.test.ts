import assert from 'node:assert/strict';
import { mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { suite, test } from 'node:test';
import { scanTar } from '../../src/tar/scan.js';
import { MemoryRange, RangeCursor } from '../../src/io/byte-range.js';
import { openArchive } from '../../src/archive/read/open.js';
import { readMember } from '../../src/archive/read/members.js';
import { openMembers } from '../../src/archive/read/open-members.js';
import { formatPlatform } from '../../src/oci/platform.js';
import { elfFile } from '../support/elf.js';
import { imageOf, plainBlob } from '../support/images.js';
import { needs, run } from '../support/peers.js';
import { savedMembers } from '../support/saved.js';
import { tarHeader, tarOf, tarPadding } from '../support/tar.js';
import { temp } from '../support/temp.js';

/** A name whose 100th byte is "/", which is the last that GNU tar puts into the name field. */
const longName = `${'d'.repeat(49)}/${'e'.repeat(49)}/app`;

/** A header block with fields of the test's choice, and its checksum put right. */
function block(
  fields: { name: string; flag?: string; size?: number | string; prefix?: string; link?: string },
  magic = 'ustar\x0000',
): Buffer {
  const header = tarHeader({ name: 'x', mode: 0o755 }, 0);
  header.fill(0, 0, 100);
  header.write(fields.name, 0, 100, 'latin1');
  const { size = 0, flag = '0' } = fields;
  header.write(
    typeof size === 'string' ? size.padEnd(12, '\0') : `${size.toString(8).padStart(11, '0')}\0`,
    124,
    'latin1',
  );
  header.write(flag, 156, 'latin1');
  header.write(fields.link ?? '', 157, 100, 'latin1');
  header.fill(0, 257, 265);
  header.write(magic, 257, 'latin1');
  header.write(fields.prefix ?? '', 345, 155, 'latin1');
  header.write('        ', 148, 'latin1');
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}

function padded(content: string | Uint8Array): Buffer {
  const bytes = Buffer.from(content);
  return Buffer.concat([bytes, Buffer.alloc(tarPadding(bytes.byteLength))]);
}

function gnuLong(flag: 'L' | 'K', text: string): Buffer {
  const content = `${text}\0`;
  const head = block({ name: '././@LongLink', flag, size: content.length }, 'ustar  \0');
  return Buffer.concat([head, padded(content)]);
}

function pax(records: Readonly<Record<string, string>>, flag = 'x'): Buffer {
  const content = Object.entries(records)
    .map(([key, value]) => {
      const rest = ` ${key}=${value}\n`;
      let length = rest.length + 1;
      while (`${length}${rest}`.length !== length) length = `${length}${rest}`.length;
      return `${length}${rest}`;
    })
    .join('');
  return Buffer.concat([block({ name: 'PaxHeaders/x/', flag, size: content.length }), padded(content)]);
}

const end = Buffer.alloc(1024);

interface Found {
  readonly name: string;
  readonly kind: string;
  readonly size: number;
  readonly linkName: string;
}

async function scanned(...parts: Buffer[]): Promise<Found[]> {
  const bytes = Buffer.concat([...parts, end]);
  const range = new MemoryRange(bytes);
  const found: Found[] = [];
  for await (const { name, kind, size, linkName } of scanTar(new RangeCursor(range), 'x.tar', 100))
    found.push({ name, kind, size, linkName });
  return found;
}

const last: Buffer[] = [block({ name: 'last', size: 1 }), padded('x')];

suite('fields of tar headers and their overrides', { timeout: 120_000 }, () => {
  const cut = longName.slice(0, 100);
  assert.ok(cut.endsWith('/'));
  for (const flag of ['0', '\0', '7']) {
    const named = { name: cut, flag, size: 5 };
    test(`a name field that ends in "/" is not a directory if a long name overrides it, flag ${JSON.stringify(flag)}`, async () => {
      const want = [
        { name: longName, kind: 'file', size: 5, linkName: '' },
        { name: 'last', kind: 'file', size: 1, linkName: '' },
      ];
      const content = padded('hello');
      assert.deepEqual(
        await scanned(gnuLong('L', longName), block(named, 'ustar  \0'), content, ...last),
        want,
        'GNU',
      );
      assert.deepEqual(await scanned(pax({ path: longName }), block(named), content, ...last), want, 'pax');
      const between = pax({ comment: 'of all that follow', path: 'wrong/' }, 'g');
      assert.deepEqual(
        await scanned(pax({ path: longName }), between, block(named), content, ...last),
        want,
        'a global header between',
      );
      const prefixed = block({ ...named, name: 'e'.repeat(49) + '/', prefix: 'd'.repeat(49) });
      assert.deepEqual(
        await scanned(pax({ path: longName }), prefixed, content, ...last),
        want,
        'with a prefix',
      );
    });

    test(`a long name that ends in "/" is a directory, flag ${JSON.stringify(flag)}`, async () => {
      const folder = `${longName}/`;
      const want = [
        { name: folder, kind: 'directory', size: 0, linkName: '' },
        { name: 'last', kind: 'file', size: 1, linkName: '' },
      ];
      const plain = block({ name: folder.slice(0, 90), flag });
      assert.deepEqual(await scanned(gnuLong('L', folder), plain, ...last), want);
      assert.deepEqual(await scanned(pax({ path: folder }), plain, ...last), want);
      assert.deepEqual(await scanned(block({ name: 'plain/', flag }), ...last), [
        { ...want[0], name: 'plain/' },
        want[1],
      ]);
    });
  }

  test('content of a file whose name ends in "/" is skipped as Go, GNU tar and bsdtar do', async () => {
    const found = await scanned(block({ name: 'folder/', size: 3 }), padded('abc'), ...last);
    assert.deepEqual(
      found.map(({ name, kind }) => [name, kind]),
      [
        ['folder/', 'directory'],
        ['last', 'file'],
      ],
    );
  });

  test('a size in a pax header counts, whatever the size field holds', async () => {
    for (const size of [0, 7, '99999999999', '7777777777777']) {
      const found = await scanned(pax({ size: '5' }), block({ name: 'a', size }), padded('hello'), ...last);
      assert.deepEqual(
        found.map((entry) => [entry.name, entry.size]),
        [
          ['a', 5],
          ['last', 1],
        ],
        String(size),
      );
    }
    await assert.rejects(
      scanned(block({ name: 'a', size: '99999999999' }), ...last),
      /broken tar header at byte 0/,
    );
  });

  test('a size in a pax header adds no content to links and directories', async () => {
    for (const [flag, kind] of [
      ['1', 'hardlink'],
      ['2', 'symlink'],
      ['5', 'directory'],
    ] as const) {
      const found = await scanned(
        pax({ size: '512', linkpath: longName }),
        block({ name: 'a/', flag, link: cut }),
        ...last,
      );
      assert.deepEqual(found[0], { name: 'a/', kind, size: 0, linkName: longName });
      assert.equal(found[1]?.name, 'last');
    }
    const gnu = await scanned(gnuLong('K', longName), block({ name: 'a', flag: '2', link: cut }), ...last);
    assert.equal(gnu[0]?.linkName, longName);
  });

  test('an empty value in a pax header leaves the field as it is', async () => {
    const found = await scanned(
      pax({ path: '', linkpath: '', size: '' }),
      block({ name: 'a', flag: '2', link: 'b' }),
      ...last,
    );
    assert.deepEqual(found[0], { name: 'a', kind: 'symlink', size: 0, linkName: 'b' });
  });

  for (const format of ['gnu', 'posix']) {
    test(`a long name written by GNU tar as ${format} is read`, { skip: needs('tar') }, async (t) => {
      const dir = temp(t);
      await mkdir(join(dir, dirname(longName)), { recursive: true });
      await writeFile(join(dir, longName), 'content');
      await run('tar', [`--format=${format}`, '-C', dir, '-cf', join(dir, 'x.tar'), longName]);
      const { members } = await openMembers(join(dir, 'x.tar'));
      t.after(() => members.close());
      assert.equal((await readMember(members, longName, 100))?.toString(), 'content');
    });
  }

  for (const [how, header] of [
    ['GNU', gnuLong('L', longName)],
    ['pax', pax({ path: longName })],
  ] as const) {
    test(`the program of a layer is found after a long ${how} name`, async (t) => {
      const program = elfFile('linux/arm64', 'app');
      const tar = Buffer.concat([
        header,
        block({ name: cut, size: program.length }, how === 'GNU' ? 'ustar  \0' : undefined),
        padded(program),
        end,
      ]);
      const image = imageOf({
        platform: 'linux/amd64',
        layers: [plainBlob(tar, 'application/vnd.oci.image.layer.v1.tar')],
        config: { config: { Entrypoint: [`/${longName}`] } },
      });
      const path = join(temp(t), 'x.tar');
      await writeFile(path, tarOf(savedMembers('podman', [{ tags: ['team/app:1'], image }])));
      const archive = await openArchive(path);
      t.after(() => archive.close());
      for await (const { children } of archive.images()) {
        const [child] = children;
        assert.equal(
          child?.platform === undefined ? '' : formatPlatform(child.platform.platform),
          'linux/arm64',
        );
        assert.match(child?.platform?.contradiction ?? '', /config says linux\/amd64, executables are arm64/);
      }
    });
  }

  for (const format of ['gnu', 'posix']) {
    test(
      `the program of a layer is found after a sparse file written by GNU tar as ${format}`,
      { skip: needs('tar') },
      async (t) => {
        const dir = temp(t);
        const holes = await open(join(dir, 'holes'), 'w');
        // More pieces than a header has room for.
        for (let piece = 0; piece < 40; piece++) await holes.write('x', piece * 1024 * 1024);
        await holes.close();
        await writeFile(join(dir, 'app'), elfFile('linux/arm64', 'app'), { mode: 0o755 });
        await run('tar', [
          `--format=${format}`,
          '--sparse',
          '-C',
          dir,
          '-cf',
          join(dir, 'layer.tar'),
          'holes',
          'app',
        ]);
        const image = imageOf({
          platform: 'linux/amd64',
          layers: [
            plainBlob(await readFile(join(dir, 'layer.tar')), 'application/vnd.oci.image.layer.v1.tar'),
          ],
          config: { config: { Entrypoint: ['/app'] } },
        });
        const path = join(dir, 'x.tar');
        await writeFile(path, tarOf(savedMembers('podman', [{ tags: ['team/app:1'], image }])));
        const archive = await openArchive(path);
        t.after(() => archive.close());
        for await (const { children } of archive.images())
          assert.match(
            children[0]?.platform?.contradiction ?? '',
            /config says linux\/amd64, executables are arm64/,
          );
      },
    );
  }
});
