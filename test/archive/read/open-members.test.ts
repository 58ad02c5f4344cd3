import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, readdir, readlink, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { suite, test, type TestContext } from 'node:test';
import { gzipSync } from 'node:zlib';
import { findMember, readMember, type Members } from '../../../src/archive/read/members.js';
import { openMembers, type OpenMembersOptions } from '../../../src/archive/read/open-members.js';
import { isAirliftError } from '../../../src/errors.js';
import { noise } from '../../support/content.js';
import { needs, run } from '../../support/peers.js';
import { tarHeader, tarOf, tarPadding, type TarMember } from '../../support/tar.js';
import { temp } from '../../support/temp.js';
import { until } from '../../support/until.js';

async function opened(t: TestContext, path: string, options: OpenMembersOptions = {}): Promise<Members> {
  const { members } = await openMembers(path, options);
  t.after(() => members.close());
  return members;
}

async function written(t: TestContext, bytes: Uint8Array): Promise<string> {
  const path = join(temp(t), 'x.tar');
  await writeFile(path, bytes);
  return path;
}

async function textOf(members: Members, path: string): Promise<string | undefined> {
  return (await readMember(members, path, 1_000_000))?.toString();
}

/** Returns a check for an error of `code` whose message, without the path of the file, is `message`. */
function fails(code: string, message: string | RegExp, hint?: RegExp): (error: unknown) => true {
  return (error) => {
    assert.ok(isAirliftError(error), String(error));
    const text = error.message.replaceAll(/\/\S+\/(x[.a-z]*)/g, '$1');
    if (typeof message === 'string') assert.equal(text, message);
    else assert.match(text, message);
    assert.equal(error.code, code);
    if (hint !== undefined) assert.match(error.hint ?? '', hint);
    return true;
  };
}

suite('members of a tar archive', { timeout: 120_000 }, () => {
  const long = `${'d'.repeat(90)}/${'e'.repeat(120)}/${'f'.repeat(100)}.txt`;

  for (const format of ['v7', 'oldgnu', 'gnu', 'ustar', 'posix']) {
    test(`written by GNU tar as ${format}`, { skip: needs('tar') }, async (t) => {
      const dir = temp(t);
      const names = ['one', 'folder/two', 'ümläut'];
      if (format !== 'v7' && format !== 'ustar') names.push(long);
      for (const name of names) {
        await mkdir(join(dir, 'in', name, '..'), { recursive: true });
        await writeFile(join(dir, 'in', name), `content of ${name}`);
      }
      await symlink('../one', join(dir, 'in/folder/link'));
      await run('tar', [`--format=${format}`, '-C', join(dir, 'in'), '-cf', join(dir, 'x.tar'), '.']);
      const members = await opened(t, join(dir, 'x.tar'));
      for (const name of names) assert.equal(await textOf(members, name), `content of ${name}`);
      assert.equal(await textOf(members, 'folder/link'), 'content of one');
      assert.equal(await textOf(members, './folder//two'), 'content of folder/two');
      assert.equal(await textOf(members, 'folder'), undefined);
      const below: string[] = [];
      for await (const path of members.below('folder/')) below.push(path);
      assert.deepEqual(below.sort(), ['folder/link', 'folder/two']);
    });
  }

  test('links may point forward, at links and at hard links, but not outside and not in circles', async (t) => {
    const members = await opened(
      t,
      await written(
        t,
        tarOf([
          { name: 'a/layer.tar', type: 'symlink', target: '../b/layer.tar' },
          { name: 'b/layer.tar', type: 'symlink', target: '../c.tar' },
          { name: 'c.tar', type: 'link', target: 'd/e.tar' },
          { name: 'd/e.tar', content: 'layer' },
          { name: 'out', type: 'symlink', target: '../outside' },
          { name: 'root', type: 'symlink', target: '/etc/passwd' },
          { name: 'hardout', type: 'link', target: '../../etc/passwd' },
          { name: 'nowhere', type: 'symlink', target: 'missing' },
          { name: 'ring', type: 'symlink', target: 'ring2' },
          { name: 'ring2', type: 'symlink', target: './ring' },
        ]),
      ),
    );
    for (const path of ['a/layer.tar', 'b/layer.tar', 'c.tar', 'd/e.tar'])
      assert.equal(await textOf(members, path), 'layer');
    for (const path of ['out', 'root', 'hardout']) {
      await assert.rejects(
        members.find(path),
        fails('damaged', `read x.tar: "${path}" is a link to a path outside the archive`),
      );
    }
    await assert.rejects(members.find('ring'), fails('damaged', 'read x.tar: "ring" is a circular link'));
    assert.equal(await members.find('nowhere'), undefined);
    await assert.rejects(
      findMember(members, 'nowhere', 'manifest.json'),
      fails('damaged', 'read x.tar: "nowhere" is missing from the archive, although manifest.json lists it'),
    );
  });

  for (const name of ['../evil', 'a/../../evil', 'a/b/../c', '..', '/..']) {
    test(`the name ${name} is refused`, async (t) => {
      const path = await written(t, tarOf([{ name: 'fine' }, { name, content: 'x' }]));
      await assert.rejects(
        openMembers(path),
        fails('damaged', `read x.tar: ${JSON.stringify(name)} is a path that leads outside the archive`),
      );
    });
  }

  test('a repeated entry is read if the content is the same, else refused', async (t) => {
    const files = (name: string, ...contents: string[]): TarMember[] =>
      contents.map((content) => ({ name, content }));
    const members = await opened(
      t,
      await written(
        t,
        tarOf([
          ...files('blobs/sha256/aa', 'same', 'same'),
          ...files('./layer.tar', 'layer'),
          ...files('layer.tar', 'layer'),
          ...files('manifest.json', 'one', 'two', 'one'),
          ...files('blobs/sha256/bb', 'one', 'two'),
          { name: 'linked', type: 'symlink', target: 'layer.tar' },
          ...files('linked', 'layer'),
          { name: 'linked', type: 'link', target: 'layer.tar' },
          { name: 'moved', type: 'symlink', target: 'layer.tar' },
          { name: 'moved', type: 'symlink', target: 'blobs/sha256/aa' },
          ...files('self', 'itself'),
          { name: 'self', type: 'link', target: 'self' },
          { name: 'lost', type: 'symlink', target: 'nowhere' },
          ...files('lost', 'lost'),
          ...files('long', 'x'.repeat(3_000_000), `${'x'.repeat(2_999_999)}y`),
        ]),
      ),
    );
    for (const [name, text] of [
      ['blobs/sha256/aa', 'same'],
      ['layer.tar', 'layer'],
      ['linked', 'layer'],
      ['self', 'itself'],
    ] as const)
      assert.equal(await textOf(members, name), text, name);
    for (const name of ['manifest.json', 'blobs/sha256/bb', 'moved', 'lost', 'long']) {
      await assert.rejects(
        members.find(name),
        fails(
          'damaged',
          `read x.tar: "${name}" occurs more than once in the archive, with different content`,
        ),
        name,
      );
    }
  });

  test('a file listed twice for GNU tar is read', { skip: needs('tar') }, async (t) => {
    const dir = temp(t);
    await writeFile(join(dir, 'a'), 'content');
    await run('tar', ['-C', dir, '-cf', join(dir, 'x.tar'), 'a', 'a', './a']);
    assert.equal(await textOf(await opened(t, join(dir, 'x.tar')), 'a'), 'content');
  });

  test('links of repeated names that lead in circles end', async (t) => {
    const members = await opened(
      t,
      await written(
        t,
        tarOf([
          { name: 'a', type: 'symlink', target: 'b' },
          { name: 'a', type: 'symlink', target: 'b' },
          { name: 'b', type: 'symlink', target: 'a' },
          { name: 'c', type: 'link', target: 'c' },
          { name: 'd', type: 'symlink', target: 'd' },
        ]),
      ),
    );
    for (const name of ['a', 'b', 'c', 'd'])
      await assert.rejects(members.find(name), fails('damaged', /is a circular link$/));
  });

  test('a truncated archive is damaged, or its missing entries are explained', async (t) => {
    const whole = tarOf([
      { name: 'one', content: 'x'.repeat(700) },
      { name: 'two', content: 'y'.repeat(100) },
    ]);
    for (let length = 1; length < whole.length; length += 97) {
      const path = await written(t, whole.subarray(0, length));
      let members: Members;
      try {
        ({ members } = await openMembers(path));
      } catch (error) {
        fails(
          length < 512 ? 'input' : 'damaged',
          length < 512
            ? 'read x.tar: not a tar archive'
            : /^read x\.tar: truncated at byte \d+( inside "(one|two)")?$/,
        )(error);
        continue;
      }
      await assert.rejects(findMember(members, 'three', 'manifest.json'), (error) => {
        const complete = length >= whole.length - 1024 + 512;
        return fails(
          'damaged',
          /is missing from the archive/,
          complete ? undefined : /may be truncated/,
        )(error);
      });
      await members.close();
    }
  });

  test('broken headers, sparse files and impossible sizes are refused', async (t) => {
    const good = tarOf([
      { name: 'one', content: 'x' },
      { name: 'two', content: 'y' },
    ]);
    const broken = Buffer.from(good);
    broken[1024 + 3] = 0x7f;
    await assert.rejects(
      openMembers(await written(t, broken)),
      fails('damaged', 'read x.tar: broken tar header at byte 1024'),
    );

    /** Returns a header with this type flag and size field, and a valid checksum. */
    const header = (flag: string, size: Buffer | string): Buffer => {
      const block = tarHeader({ name: 'big' }, 0);
      block.write(flag, 156, 'latin1');
      if (typeof size === 'string') block.write(size.padStart(11, '0'), 124, 'latin1');
      else size.copy(block, 136 - size.length);
      block.write('        ', 148, 'latin1');
      const sum = block.reduce((total, byte) => total + byte, 0);
      block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
      return block;
    };
    const base256 = (value: bigint): Buffer => {
      const field = Buffer.alloc(12);
      field.writeBigUInt64BE(value, 4);
      field[0] = 0x80;
      return field;
    };
    const body = Buffer.alloc(2048);
    await assert.rejects(
      openMembers(await written(t, Buffer.concat([header('0', base256(9_000_000_000n)), body]))),
      fails('damaged', 'read x.tar: truncated at byte 2560 inside "big"'),
    );
    const small = await opened(
      t,
      await written(t, Buffer.concat([header('0', base256(5n)), Buffer.from('hello'), body])),
    );
    assert.equal(await textOf(small, 'big'), 'hello');
    for (const size of [base256(2n ** 63n), Buffer.alloc(12, 0xff), 'notoctal'])
      await assert.rejects(
        openMembers(await written(t, Buffer.concat([good.subarray(0, 1024), header('0', size), body]))),
        {
          code: 'damaged',
        },
      );
    await assert.rejects(
      openMembers(await written(t, Buffer.concat([header('S', '0'), body]))),
      fails('unsupported', 'read x.tar: "big" is a sparse file'),
    );
    const pax = (records: string): Buffer => {
      const content = Buffer.from(records);
      const padding = Buffer.alloc(tarPadding(content.length));
      return Buffer.concat([
        header('x', content.length.toString(8)),
        content,
        padding,
        header('0', '5'),
        Buffer.from('hello'),
        body,
      ]);
    };
    const named = await opened(t, await written(t, pax('17 path=folder/x\n13 mtime=1.5\n')));
    assert.equal(await textOf(named, 'folder/x'), 'hello');
    for (const records of ['99 path=x\n', 'path=x\n', '9 path=xy', '10 size=-5\n'])
      await assert.rejects(openMembers(await written(t, pax(records))), { code: 'damaged' });
    await assert.rejects(openMembers(await written(t, pax('22 GNU.sparse.major=1\n'))), {
      code: 'unsupported',
    });
    await assert.rejects(
      openMembers(await written(t, Buffer.concat([header('L', '77777777'), body]))),
      fails('damaged', 'read x.tar: header of 16777215 bytes at byte 0; want at most 1048576'),
    );
  });

  test('a file that is not an archive is reported as such', async (t) => {
    const dir = temp(t);
    await assert.rejects(openMembers(join(dir, 'x')), { code: 'not-found' });
    await assert.rejects(
      openMembers(await written(t, Buffer.alloc(0))),
      fails('input', 'read x.tar: empty file'),
    );
    await assert.rejects(
      openMembers(await written(t, Buffer.from('<html>not found</html>'.repeat(40)))),
      fails('input', 'read x.tar: not a tar archive'),
    );
    await assert.rejects(openMembers(await written(t, gzipSync(''))), fails('input', 'read x.tar: empty'));
    await assert.rejects(openMembers('-'), { code: 'usage' });
  });
});

/** Asserts that archives with 40 MB of content do not fit in a directory with 80 MiB, 64 of which are reserved. */
async function assertTooSmall(t: TestContext, tmpDir: string): Promise<void> {
  const zeros = Buffer.alloc(40_000_000);
  const withSize = await run('zstd', ['-q', '-c', '--stream-size=40000000'], { input: zeros });
  await assert.rejects(
    openMembers(await written(t, withSize.bytes), { tmpDir }),
    fails(
      'no-space',
      /^store the uncompressed content of x\.tar in \S+: not enough space; got 17 MB, want at least 40 MB$/,
      /`tmpDir`/,
    ),
  );
  const withoutSize = await run('zstd', ['-q', '-c'], { input: zeros });
  await assert.rejects(
    openMembers(await written(t, withoutSize.bytes), { tmpDir }),
    fails('no-space', /^store x\.tar in \S+: not enough space; got /, /`tmpDir`/),
  );
  assert.deepEqual(await readdir(tmpDir), []);
}

/** Returns why no file system can be mounted here, or false. */
function noMounts(): string | false {
  return process.getuid?.() === 0 && process.platform === 'linux' ? needs('zstd') : 'mounting requires root';
}

suite('members of a compressed archive or stream', { timeout: 120_000 }, () => {
  const big = Buffer.concat([...noise(3_000_000, 'spool')]);
  const archive = tarOf([
    { name: 'big', content: big },
    { name: 'small', content: 'hello' },
  ]);

  async function assertWhole(members: Members): Promise<void> {
    assert.equal(await textOf(members, 'small'), 'hello');
    const content = await findMember(members, 'big', 'the test');
    const chunks: Buffer[] = [];
    for await (const chunk of content.stream(1_000_001) as AsyncIterable<Buffer>) chunks.push(chunk);
    assert.ok(Buffer.concat(chunks).equals(big.subarray(1_000_001)));
    assert.ok((await content.read(2_999_990, 100)).equals(big.subarray(2_999_990)));
  }

  test(
    'gzip, zstd, a stream and a fifo are unpacked to where nothing is left',
    { skip: needs('zstd') },
    async (t) => {
      const dir = temp(t);
      const tmpDir = join(dir, 'tmp');
      await mkdir(tmpDir);
      const zst = (await run('zstd', ['-q', '-c'], { input: archive })).bytes;
      for (const bytes of [gzipSync(archive), zst]) {
        const path = await written(t, bytes);
        const members = await opened(t, path, { tmpDir });
        await assertWhole(members);
        assert.equal(members.file, path);
      }
      for (const bytes of [archive, zst]) {
        const members = await opened(t, '-', { tmpDir, stdin: Readable.from([bytes]) });
        await assertWhole(members);
        assert.equal(members.file, 'standard input');
      }
      const fifo = join(dir, 'x.fifo');
      await run('mkfifo', [fifo]);
      const writing = run('sh', ['-c', 'cat > "$0"', fifo], { input: zst });
      await assertWhole(await opened(t, fifo, { tmpDir }));
      await writing;
      assert.deepEqual(await readdir(tmpDir), []);
    },
  );

  test('a damaged archive is named in the error, and leaves no temporary file', async (t) => {
    const tmpDir = temp(t);
    const path = await written(t, gzipSync(archive).subarray(0, 1_000_000));
    await assert.rejects(
      openMembers(path, { tmpDir }),
      fails('damaged', 'decompress x.tar: truncated after 1000000 bytes of gzip'),
    );
    const controller = new AbortController();
    controller.abort();
    await assert.rejects(
      openMembers(await written(t, gzipSync(archive)), { tmpDir, signal: controller.signal }),
      fails('interrupted', 'read x.tar: interrupted'),
    );
    await assert.rejects(
      openMembers(path, { tmpDir: join(tmpDir, 'missing') }),
      fails('io', /^create a temporary file in /, /`tmpDir`/),
    );
    assert.deepEqual(await readdir(tmpDir), []);
  });

  test('a killed process leaves no temporary file', async (t) => {
    const tmpDir = temp(t);
    const url = new URL('../../../src/archive/read/open-members.js', import.meta.url);
    const script = `import { openMembers } from ${JSON.stringify(String(url))};
      await openMembers('-', { tmpDir: process.argv[1], stdin: process.stdin });`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script, tmpDir], {
      stdio: ['pipe', 'inherit', 'inherit'],
    });
    child.stdin.on('error', () => undefined);
    child.stdin.write(archive);
    const fdFolder = `/proc/${child.pid}/fd`;
    const spooling = async (): Promise<boolean> =>
      (
        await Promise.all((await readdir(fdFolder)).map((fd) => readlink(join(fdFolder, fd)).catch(() => '')))
      ).some((name) => name.startsWith(tmpDir) && name.endsWith(' (deleted)'));
    await until('the temporary file is open and removed', spooling);
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('exit', resolve));
    assert.deepEqual(await readdir(tmpDir), []);
  });

  test(
    'content that does not fit is rejected, before unpacking if its size is known',
    { skip: noMounts() },
    async (t) => {
      const tmpDir = temp(t);
      await run('mount', ['-t', 'tmpfs', '-o', 'size=80m', 'tmpfs', tmpDir]);
      try {
        await assertTooSmall(t, tmpDir);
      } finally {
        await run('umount', [tmpDir]);
      }
    },
  );

  test('a decompression bomb is stopped', { skip: needs('zstd') }, async (t) => {
    const bomb = join(temp(t), 'x.zst');
    await run('sh', ['-c', `head -c 4G /dev/zero | zstd -q -1 -o "$0"`, bomb]);
    await assert.rejects(
      openMembers(bomb),
      fails(
        'damaged',
        /^decompress x\.zst: suspected decompression bomb: [\d.]+ kB unpack to more than 1\.1 GB$/,
        /unpack the file first/,
      ),
    );
  });
});

suite('members of a directory', () => {
  test('files are found, links to the outside are refused', async (t) => {
    const dir = temp(t);
    await writeFile(join(dir, 'secret'), 'secret');
    await mkdir(join(dir, 'layout/blobs/sha256'), { recursive: true });
    await writeFile(join(dir, 'layout/blobs/sha256/aa'), 'blob');
    await symlink('aa', join(dir, 'layout/blobs/sha256/bb'));
    await symlink('../../../secret', join(dir, 'layout/blobs/sha256/cc'));
    await symlink('dd', join(dir, 'layout/blobs/sha256/dd'));
    await symlink('..', join(dir, 'layout/up'));
    const members = await opened(t, join(dir, 'layout'));
    assert.equal(await textOf(members, 'blobs/sha256/aa'), 'blob');
    assert.equal(await textOf(members, 'blobs/sha256/bb'), 'blob');
    assert.equal(await textOf(members, 'blobs/sha256/none'), undefined);
    assert.equal(await textOf(members, 'blobs/sha256/aa/x'), undefined);
    for (const path of ['blobs/sha256/cc', 'up/secret', '../secret'])
      await assert.rejects(members.find(path), /is a link to a path outside the directory$/);
    await assert.rejects(members.find('blobs/sha256/dd'), /is a circular link$/);
    const below: string[] = [];
    for await (const path of members.below('blobs/')) below.push(path);
    assert.deepEqual(
      below.sort(),
      ['aa', 'bb', 'cc', 'dd'].map((name) => `blobs/sha256/${name}`),
    );
  });
});
