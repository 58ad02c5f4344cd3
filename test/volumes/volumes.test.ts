import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { BundleReader } from '../../src/bundle/reader.js';
import { serve } from '../../src/serve/serve.js';
import { splitBundle } from '../../src/volumes/split.js';
import { joinBundle } from '../../src/volumes/join.js';
import { isAirliftError } from '../../src/errors.js';
import { everyKind, writeBundle } from '../bundle/write-bundle.js';
import { airlift } from '../support/airlift.js';
import { needs, run } from '../support/peers.js';
import { serveStore } from '../support/serve-store.js';
import { startAirlift } from '../support/started.js';
import { temp, type Cleanup } from '../support/temp.js';
import { until } from '../support/until.js';

interface ListJson {
  readonly name: string;
  readonly size: number;
  readonly digest: string;
  readonly volumes: readonly { readonly name: string; readonly size: number; readonly digest: string }[];
}

const listOf = (path: string): ListJson => JSON.parse(readFileSync(path, 'utf8')) as ListJson;

function flip(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at] = (bytes[at] ?? 0) ^ 0x08;
  writeFileSync(path, bytes);
}

describe('a bundle in volumes', () => {
  const dir = temp({ after });
  const whole = join(dir, 'site.tar');
  const volumeSize = 512 * 1024;
  let count = 0;
  before(async () => {
    await writeBundle(
      whole,
      everyKind().filter(({ reference }) => reference?.includes('windows') !== true),
    );
    count = Math.ceil(statSync(whole).size / volumeSize);
    assert.ok(count >= 3, `${count} volumes`);
  });

  /** Splits the bundle into a new directory. */
  async function split(t: Cleanup): Promise<string> {
    const to = temp(t);
    await splitBundle(whole, { output: to, volumeSize });
    return to;
  }

  const skip = needs('sha256sum');
  test(
    'split writes volumes that cat joins to the same bytes, and a list that sha256sum confirms',
    { skip },
    async (t) => {
      const to = temp(t);
      const { stdout } = await airlift(['split', whole, '--volume-size', '512K', '-o', `${to}/`]);
      assert.match(stdout, new RegExp(`into ${count} volumes`));
      const list = listOf(join(to, 'site.tar.volumes'));
      assert.equal(list.name, 'site.tar');
      assert.deepEqual(
        readdirSync(to).sort(),
        [...list.volumes.map(({ name }) => name), 'site.tar.volumes'].sort(),
      );
      await run('sh', ['-c', 'cat site.tar.0* > joined && cmp joined "$1"', 'sh', whole], { cwd: to });
      const sums = [...list.volumes, { name: 'joined', digest: list.digest }];
      const lines = sums.map(({ name, digest }) => `${digest.replace('sha256:', '')}  ${name}\n`).join('');
      await run('sha256sum', ['--check', '--strict'], { cwd: to, input: lines });
      assert.deepEqual(
        list.volumes.map(({ size, name }) => [size, statSync(join(to, name)).size]),
        list.volumes.map(({ size }, at) => {
          const want = at < count - 1 ? volumeSize : list.size - (count - 1) * volumeSize;
          assert.equal(size, want);
          return [want, want];
        }),
      );
    },
  );

  test('join restores the bundle from volumes in several directories', async (t) => {
    const [a, b] = [await split(t), temp(t)];
    renameSync(join(a, 'site.tar.002'), join(b, 'site.tar.002'));
    const output = join(temp(t), 'site.tar');
    const wrong = await airlift(['join', join(a, 'site.tar.001'), '-o', output], { codes: [4] });
    assert.match(
      wrong.stderr,
      /site\.tar\.002: missing in .*\n {4}breaks .*\n.*hint: copy only site\.tar\.002 again, or name/,
    );
    await airlift(['join', join(a, 'site.tar.001'), '--volume-dir', b, '-o', output]);
    await run('cmp', [output, whole]);
  });

  test('inspect, verify, import, save and serve read volumes in several directories', async (t) => {
    const [a, b] = [await split(t), temp(t)];
    renameSync(join(a, 'site.tar.002'), join(b, 'site.tar.002'));
    const list = join(a, 'site.tar.volumes');
    const dirs = ['--volume-dir', b];
    const [want, got] = [
      await airlift(['inspect', whole, '--json']),
      await airlift(['inspect', list, ...dirs, '--json']),
    ];
    const inspected = (text: string): unknown => ({ ...(JSON.parse(text) as object), bundle: '' });
    assert.deepEqual(inspected(got.stdout), inspected(want.stdout));
    const verified = await airlift(['verify', list, ...dirs]);
    assert.match(verified.stdout, /nothing lost or changed/);
    const [saved, plain] = [join(temp(t), 'a.tar'), join(temp(t), 'b.tar')];
    const save = ['--format', 'oci-archive', '-o'];
    await airlift(['save', join(a, 'site.tar'), ...dirs, ...save, saved]);
    await airlift(['save', whole, ...save, plain]);
    await run('cmp', [saved, plain]);
    const host = await serveStore(t);
    const imported = await airlift(['import', join(a, 'site.tar.001'), ...dirs, '--to', host]);
    const globbed = await airlift([
      'import',
      ...readdirSync(a)
        .filter((name) => /\.\d{3}$/.test(name))
        .map((name) => join(a, name)),
      join(b, 'site.tar.002'),
      '--to',
      host,
    ]);
    assert.match(imported.stdout, /imported \d+ images/);
    assert.match(globbed.stdout, /: 0 blobs sent/);
  });

  test('verify names a damaged and a missing volume with the images that need them', async (t) => {
    const to = await split(t);
    const reader = await BundleReader.open(whole);
    const layer = [...reader.blobs()].findLast(({ kind, size }) => kind === 'layer' && size > 2 * volumeSize);
    assert.ok(layer !== undefined);
    const at = reader.position(layer.digest) ?? 0;
    await reader.close();
    const number = Math.floor((at + 1000) / volumeSize) + 1;
    const name = `site.tar.${String(number).padStart(3, '0')}`;
    flip(join(to, name), (at + 1000) % volumeSize);
    const list = join(to, 'site.tar.volumes');
    const alone = await airlift(['verify', join(to, name)], { codes: [4] });
    assert.match(alone.stdout, new RegExp(`damaged: ${name}: digest mismatch; .*\n  breaks registry`));
    assert.match(alone.stdout, /next: copy only this volume again/);
    const intact = await airlift(['verify', join(to, 'site.tar.001')]);
    assert.match(intact.stdout, new RegExp(`verified .*site\\.tar\\.001: volume 1 of ${count}`));
    const all = await airlift(['verify', list, '--json'], { codes: [4] });
    const { problems } = JSON.parse(all.stdout) as {
      problems: { kind: string; thing: string; images: { reference: string }[] }[];
    };
    assert.deepEqual(
      problems.filter(({ kind }) => kind === 'volume').map(({ thing }) => thing),
      [name],
    );
    const broken = problems.flatMap(({ kind, images }) => (kind === 'digest' ? images : []));
    assert.ok(broken.length > 0);
    const named = problems[0]?.images.map(({ reference }) => reference) ?? [];
    for (const { reference } of broken) assert.ok(named.includes(reference), reference);
    rmSync(join(to, name));
    const missing = await airlift(['verify', list], { codes: [4] });
    assert.match(missing.stdout, new RegExp(`damaged: ${name}: missing in .*\n  breaks registry`));
    assert.match(missing.stdout, new RegExp(`next: copy only ${name} again`));
  });

  /** Returns the numbers of volumes that hold parts of the last large layer, the first of them being whole in the layer. */
  async function layerVolumes(): Promise<{ number: number; at: number; digest: string }> {
    const reader = await BundleReader.open(whole);
    const layer = [...reader.blobs()].findLast(({ kind, size }) => kind === 'layer' && size > 2 * volumeSize);
    assert.ok(layer !== undefined);
    const at = (reader.position(layer.digest) ?? 0) + 1000;
    await reader.close();
    return { number: Math.floor(at / volumeSize) + 1, at: at % volumeSize, digest: layer.digest };
  }

  async function catalogPosition(): Promise<number> {
    const reader = await BundleReader.open(whole);
    const entry = reader.head.entries.get('airlift/catalog.db');
    await reader.close();
    return (entry?.contentPosition ?? assert.fail()) + 5000;
  }

  const volume = (number: number): string => `site.tar.${String(number).padStart(3, '0')}`;

  test('every reader names a missing volume with the images that need it', async (t) => {
    const [to, host] = [await split(t), await serveStore(t)];
    const { number } = await layerVolumes();
    rmSync(join(to, volume(number)));
    const list = join(to, 'site.tar.volumes');
    const commands = [
      ['inspect', list],
      ['import', list, '--to', host],
      ['save', list, '--format', 'oci-archive', '-o', join(to, 'saved.tar')],
      ['serve', list, '--listen', '127.0.0.1:0'],
      ['join', list, '-o', join(to, 'joined.tar')],
      ['stow', list, temp(t)],
    ];
    for (const args of commands) {
      const { stderr } = await airlift(args, { codes: [4] });
      assert.match(
        stderr,
        new RegExp(`${volume(number)}: missing in .*\n {4}breaks registry\\.example/`),
        args[0],
      );
      assert.match(stderr, new RegExp(`hint: copy only ${volume(number)} again`), args[0]);
    }
    renameSync(join(to, 'site.tar.001'), join(to, 'lost'));
    for (const args of commands) {
      const { stderr } = await airlift(args, { codes: [4] });
      assert.match(
        stderr,
        new RegExp(
          `site\\.tar\\.001: missing in .*\n {2}${volume(number)}: missing in .*\n {2}site\\.tar\\.001 holds the catalog: without it`,
        ),
        args[0],
      );
    }
    assert.deepEqual(
      readdirSync(to).filter((name) => /saved|joined/.test(name)),
      [],
    );
  });

  test('import, save, serve and inspect name a damaged volume with the images that need it', async (t) => {
    const [to, host] = [await split(t), await serveStore(t)];
    const { number, at, digest } = await layerVolumes();
    flip(join(to, volume(number)), at);
    const list = join(to, 'site.tar.volumes');
    for (const args of [
      ['import', list, '--to', host],
      ['save', list, '--format', 'oci-archive', '-o', join(to, 'saved.tar')],
    ]) {
      const { stderr } = await airlift(args, { codes: [4] });
      assert.match(stderr, new RegExp(`in ${volume(number)}\n {4}breaks registry\\.example/`), args[0]);
      assert.match(stderr, new RegExp(`hint: copy only ${volume(number)}`), args[0]);
    }
    const problems: string[] = [];
    const serving = await serve(
      { inputs: [list] },
      { port: 0, onError: (error) => void problems.push(error.message) },
    );
    t.after(() => serving.close());
    await assert.rejects(
      fetch(`${serving.url}/v2/acme/tools/blobs/${digest}`).then((response) => response.arrayBuffer()),
    );
    await until('the server reports it', () => problems.length > 0);
    assert.match(
      problems.join('\n'),
      new RegExp(
        `digest mismatch.*\n {2}in one of ${volume(number)}, .*\n {4}breaks registry\\.example/acme/tools:v2`,
      ),
    );
    flip(join(to, 'site.tar.001'), await catalogPosition());
    const inspected = await airlift(['inspect', list], { codes: [4] });
    assert.match(
      inspected.stderr,
      /in site\.tar\.001\n {2}site\.tar\.001 holds the catalog: without it.*\n.*hint: copy only site\.tar\.001 again/,
    );
  });

  test('verify refuses a list that states another digest of a volume or of the whole', async (t) => {
    const to = await split(t);
    const path = join(to, 'site.tar.volumes');
    const list = listOf(path);
    const other = `sha256:${'0'.repeat(64)}`;
    const changed = {
      'site.tar.001': {
        ...list,
        volumes: list.volumes.map((one, at) => (at === 0 ? { ...one, digest: other } : one)),
      },
      [`site.tar.${String(count).padStart(3, '0')}`]: {
        ...list,
        volumes: list.volumes.map((one, at) => (at === count - 1 ? { ...one, digest: other } : one)),
      },
      'the joined bundle': { ...list, digest: other },
    };
    for (const [name, value] of Object.entries(changed)) {
      writeFileSync(path, JSON.stringify(value));
      const { stdout } = await airlift(['verify', path], { codes: [4] });
      assert.match(
        stdout,
        new RegExp(
          `damaged: site\\.tar\\.volumes: lists another digest for ${name}, whose content is whole: digest mismatch; got sha256:\\w{64}, want ${other}\n`,
        ),
      );
      assert.match(stdout, /next: copy only site\.tar\.volumes again, and verify/);
      await airlift(['verify', path, '--quick']);
    }
    // With `digest` changed last: join finds that every volume is right, and that the whole is not what the list says.
    const joined = await airlift(['join', path, '-o', join(temp(t), 'site.tar')], { codes: [4] });
    assert.match(
      joined.stderr,
      new RegExp(`digest mismatch of the whole; got sha256:\\w{64}, want ${other}\n`),
    );
    assert.match(joined.stderr, /hint: copy .*site\.tar\.volumes again: every volume matches it/);
    writeFileSync(path, JSON.stringify(list));
    await airlift(['verify', path]);
  });

  test('join names a damaged volume, and needs only that one again', async (t) => {
    const [to, good] = [await split(t), await split(t)];
    flip(join(to, 'site.tar.002'), 7000);
    const output = join(temp(t), 'site.tar');
    const args = ['join', join(to, 'site.tar.volumes'), '-o', output];
    const failed = await airlift(args, { codes: [4] });
    assert.match(failed.stderr, /site\.tar\.002: digest mismatch\n {4}breaks registry/);
    assert.ok(!existsSync(output));
    renameSync(join(good, 'site.tar.002'), join(to, 'site.tar.002'));
    await airlift(args);
    await run('cmp', [output, whole]);
    assert.deepEqual(readdirSync(join(output, '..')), ['site.tar']);
  });

  test('a set without its list is read and joined', async (t) => {
    const to = await split(t);
    rmSync(join(to, 'site.tar.volumes'));
    await airlift(['verify', join(to, 'site.tar.001')]);
    const output = join(temp(t), 'site.tar');
    await joinBundle(join(to, 'site.tar.001'), { output });
    await run('cmp', [output, whole]);
    rmSync(join(to, 'site.tar.002'));
    const missing = await airlift(['verify', join(to, 'site.tar.003')], { codes: [1] });
    assert.match(missing.stderr, /site\.tar\.002 is missing/);
  });

  test('a hostile list is refused', async (t) => {
    const to = await split(t);
    const path = join(to, 'site.tar.volumes');
    const list = listOf(path) as unknown as Record<string, unknown> & { volumes: Record<string, unknown>[] };
    const change = (at: number, more: object): unknown => ({
      ...list,
      volumes: list.volumes.map((volume, index) => (index === at ? { ...volume, ...more } : volume)),
    });
    const cases: [unknown, RegExp][] = [
      [change(0, { name: '../../etc/passwd' }), /volume 1 is not named/],
      [change(1, { size: 1e300 }), /the size of volume 2 is wrong/],
      [change(1, { size: 1 }), /the sizes of the volumes add up to/],
      [change(2, { digest: 'sha256:00' }), /the digest of volume 3 is wrong/],
      [{ ...list, name: 'a/b' }, /"name" is not a file name/],
      [{ ...list, volumes: Array.from({ length: 1000 }, () => list.volumes[0]) }, /not a list of 1 to 999/],
      [{ ...list, version: 2 }, /version of the list; got "2", want 1/],
      ['{'.repeat(100_000), /not JSON, or cut short/],
      ['{}', /not a list of volumes/],
    ];
    for (const [value, want] of cases) {
      writeFileSync(path, typeof value === 'string' ? value : JSON.stringify(value));
      const { stderr } = await airlift(['verify', path], { codes: [1, 4] });
      assert.match(stderr, want);
    }
  });

  test('split and join that kill -9 interrupts anywhere are done again by the same command', async (t) => {
    const to = temp(t);
    const output = join(temp(t), 'site.tar');
    const split = ['split', whole, '--volume-size', '64K', '-o', `${to}/`];
    const join_ = ['join', join(to, 'site.tar.volumes'), '-o', output];
    for (const [args, partial] of [
      [split, join(to, 'site.tar.partial.001')],
      [split, join(to, 'site.tar.partial.009')],
      [join_, `${output}.partial`],
    ] as const) {
      if (args === join_) await airlift(split);
      const process = startAirlift(args);
      await until(
        'the partial file appears',
        () => existsSync(partial) || existsSync(args.at(-1) ?? ''),
        60_000,
      );
      process.send('SIGKILL');
      await process.ended;
    }
    await airlift([...join_, '--force']);
    await run('cmp', [output, whole]);
    assert.deepEqual(
      readdirSync(to).filter((name) => name.includes('partial')),
      [],
    );
  });

  test('a split that is stopped between its renames is completed', async (t) => {
    const to = await split(t);
    const list = readFileSync(join(to, 'site.tar.volumes'));
    // The state after the first rename: the list has its temporary name, and so have all other volumes.
    renameSync(join(to, 'site.tar.volumes'), join(to, 'site.tar.partial.volumes'));
    for (const name of readdirSync(to))
      if (/\.\d{3}$/.test(name) && !name.endsWith('.001'))
        renameSync(join(to, name), join(to, name.replace('.tar.', '.tar.partial.')));
    await splitBundle(whole, { output: join(to, 'site.tar'), volumeSize });
    assert.ok(readFileSync(join(to, 'site.tar.volumes')).equals(list));
    await run('sh', ['-c', 'cat site.tar.0* | cmp - "$1"', 'sh', whole], { cwd: to });
    assert.deepEqual(
      readdirSync(to).filter((name) => name.includes('partial')),
      [],
    );
  });

  test('split refuses existing volumes, and replaces a larger set completely with force', async (t) => {
    const to = await split(t);
    const output = join(to, 'site.tar');
    await assert.rejects(splitBundle(whole, { output, volumeSize: 2 * volumeSize }), (error) =>
      isAirliftError(error, 'exists'),
    );
    await splitBundle(whole, { output, volumeSize: 2 * volumeSize, force: true });
    assert.equal(readdirSync(to).length, Math.ceil(count / 2) + 1);
    await airlift(['verify', `${output}.volumes`]);
    const digest = createHash('sha256').update(readFileSync(whole)).digest('hex');
    assert.equal(listOf(`${output}.volumes`).digest, `sha256:${digest}`);
  });

  test('wrong sizes and inputs are errors with the next command', async (t) => {
    const to = temp(t);
    mkdirSync(join(to, 'out'));
    const cases: [string[], number, RegExp][] = [
      [['split', whole, '--volume-size', '7x', '-o', to], 2, /not a size; got "7x"\n.*--volume-size fat32/],
      [['split', whole, '--volume-size', '100', '-o', to], 2, /want at least 512/],
      [
        ['split', whole, '--volume-size', '512', '-o', to],
        2,
        /want at most 999\n.*--volume-size to at least/,
      ],
      [['join', whole, '-o', to], 2, /not a volume.*\n.*airlift join site\.tar\.001 -o site\.tar/],
      [['join', join(to, 'none.tar.volumes'), '-o', to], 2, /not a volume/],
    ];
    for (const [args, code, want] of cases) {
      const { stderr } = await airlift(args, { codes: [code] });
      assert.match(stderr, want);
    }
    assert.deepEqual(readdirSync(to), ['out']);
  });
});
