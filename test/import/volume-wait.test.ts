import assert from 'node:assert/strict';
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { VolumeSender } from '../../src/import/volume-wait/send-volumes.js';
import { WaitedBundle, type AskVolume } from '../../src/import/volume-wait/waited-bundle.js';
import { Verifier } from '../../src/oci/digest.js';
import type { Publisher } from '../../src/publish/publisher.js';
import { keygen } from '../../src/signing/keygen.js';
import { splitBundle } from '../../src/volumes/split.js';
import { airlift } from '../support/airlift.js';
import { startDockerRegistry } from '../support/docker-registry.js';
import { startFaultProxy } from '../support/faults.js';
import { multiPlatform } from '../support/image-sets.js';
import { bigLayer, imageOf, type TestImage } from '../support/images.js';
import { needs } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { askRegistry } from '../support/registry-http.js';
import { serveStore } from '../support/serve-store.js';
import { startAirlift, type Ended, type Started } from '../support/started.js';
import { temp, type Cleanup } from '../support/temp.js';
import { until } from '../support/until.js';
import { sameContent, walkImage, walkRegistry } from '../support/walk.js';

const volumeSize = 512 * 1024;
/** Two images that share layers, and one whose layer is larger than two volumes. */
const images: Readonly<Record<string, TestImage>> = {
  'team/one': multiPlatform({ name: 'one', bigBytes: 300_000, attestations: true }),
  'team/two': multiPlatform({ name: 'two', bigBytes: 200_000 }),
  'team/large': imageOf({ platform: 'linux/amd64', layers: [bigLayer(1_500_000, 'large')] }),
};

const file: Cleanup & { ends: (() => Promise<void> | void)[] } = {
  ends: [],
  after: (work) => void file.ends.push(work),
};
after(async () => {
  for (const end of file.ends) await end();
});

let source: string;
let bundle: string;
let count: number;

before(async () => {
  source = await serveStore(file);
  bundle = join(temp(file), 'site.tar');
  for (const [name, image] of Object.entries(images)) await pushImage(source, name, '1', image);
  await airlift([
    'export',
    ...Object.keys(images).map((name) => `${source}/${name}:1`),
    '-o',
    bundle,
    '--quiet',
  ]);
  count = Math.ceil(statSync(bundle).size / volumeSize);
  assert.ok(count >= 6, `${count} volumes`);
});

/** Sticks with one volume each, of which one at a time is plugged in. */
class Sticks {
  #plugged: string | undefined;

  private constructor(
    private readonly drawer: string,
    /** The directory of the stick that is plugged in. */
    readonly mount: string,
    readonly tmpDir: string,
  ) {}

  static async of(t: Cleanup, path = bundle): Promise<Sticks> {
    const [drawer, mount, tmpDir] = [temp(t), temp(t), temp(t)];
    await splitBundle(path, { output: join(drawer, 'site.tar'), volumeSize });
    const sticks = new Sticks(drawer, mount, tmpDir);
    copyFileSync(join(drawer, 'site.tar.volumes'), join(mount, 'site.tar.volumes'));
    return sticks;
  }

  /** Path of a volume that is not plugged in. */
  path(number: number): string {
    return join(this.drawer, this.name(number));
  }

  name(number: number): string {
    return `site.tar.${String(number).padStart(3, '0')}`;
  }

  /** Unplugs the stick that is there, and plugs in the one with a volume. */
  plug(number: number): void {
    this.unplug();
    this.#plugged = this.name(number);
    renameSync(this.path(number), join(this.mount, this.#plugged));
  }

  unplug(): void {
    if (this.#plugged !== undefined)
      renameSync(join(this.mount, this.#plugged), join(this.drawer, this.#plugged));
    this.#plugged = undefined;
  }

  start(host: string, ...flags: string[]): Started {
    return startAirlift(
      [
        'import',
        join(this.mount, 'site.tar.volumes'),
        '--to',
        host,
        '--volume-wait',
        '--quiet',
        '--tmp-dir',
        this.tmpDir,
        '--retry-delay',
        '1ms',
        ...flags,
      ],
      { isAsked: true, env: { XDG_STATE_HOME: this.tmpDir } },
    );
  }
}

const question = /insert volume (\d+) of (\d+), then press Enter/g;

/** Answers the questions of an import until it ends or `onQuestion` returns false; returns the numbers it asked for. */
async function answer(
  started: Started,
  onQuestion: (number: number, at: number) => boolean | void,
): Promise<{ readonly asked: number[]; readonly ended: Ended | undefined }> {
  let ended: Ended | undefined;
  void started.ended.then((result) => (ended = result));
  for (let at = 0; ; at++) {
    const asked = (): number[] =>
      [...started.stderr().matchAll(question)].map(([, number]) => Number(number));
    await until('a question, or the end', () => asked().length > at || ended !== undefined, 60_000);
    const number = asked()[at];
    if (number === undefined) return { asked: asked(), ended };
    if (onQuestion(number, at) === false) return { asked: asked(), ended: undefined };
    started.type('\n');
  }
}

/** Plugs in each stick that the import asks for, and returns what it asked for; it must succeed. */
async function feed(sticks: Sticks, started: Started): Promise<number[]> {
  const { asked, ended } = await answer(started, (number) => sticks.plug(number));
  assert.equal(ended?.code, 0, ended?.stderr);
  return asked;
}

async function holdsAll(host: string): Promise<void> {
  for (const [name, image] of Object.entries(images)) {
    const { root, content } = await walkRegistry(host, name, '1');
    assert.equal(root.digest, image.root.digest, name);
    sameContent(content, await walkImage(image));
  }
}

/** Asserts that a registry shows no manifest and no tag of the images. */
async function holdsNoImage(host: string): Promise<void> {
  for (const [name, image] of Object.entries(images))
    for (const reference of ['1', image.root.digest, ...image.manifests.keys()]) {
      const { status } = await askRegistry(host, {
        method: 'HEAD',
        path: `/v2/${name}/manifests/${reference}`,
      });
      assert.equal(status, 404, `${name} ${reference}`);
    }
}

/** Bytes of the temporary files without a name that a process has open. */
function scratchBytes(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`)
    .map((fd) => `/proc/${pid}/fd/${fd}`)
    .filter((path) => /airlift-.*\.tmp \(deleted\)$/.test(readlinkSync(path)))
    .reduce((sum, path) => sum + statSync(path).size, 0);
}

function flip(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at] = (bytes[at] ?? 0) ^ 0x08;
  writeFileSync(path, bytes);
}

/** Returns the digests of an image's configs. */
function configsOf({ manifests }: TestImage): Set<string> {
  const configs = [...manifests.values()].map((manifest) => {
    const text = Buffer.concat([...manifest.open()]).toString();
    return (JSON.parse(text) as { config?: { digest: string } }).config?.digest ?? '';
  });
  return new Set(configs);
}

const all = (): number[] => Array.from({ length: count }, (_, at) => at + 1);

describe('import --volume-wait', () => {
  const skip = needs('docker-registry');
  test('one volume at a time is enough, and disk space for one blob', { skip }, async (t) => {
    const registry = await startDockerRegistry();
    t.after(() => registry.stop());
    const sticks = await Sticks.of(t);
    const started = sticks.start(registry.host, '--json');
    let most = 0;
    const checks: Promise<void>[] = [];
    const { asked, ended } = await answer(started, (number) => {
      most = Math.max(most, scratchBytes(started.pid));
      checks.push(holdsNoImage(registry.host));
      sticks.plug(number);
      assert.deepEqual(readdirSync(sticks.mount).sort(), [sticks.name(number), 'site.tar.volumes']);
    });
    await Promise.all(checks);
    assert.equal(ended?.code, 0, ended?.stderr);
    assert.deepEqual(asked, all());
    await holdsAll(registry.host);
    const front = 150_000;
    assert.ok(most > 500_000 && most < 1_500_000 + front, `${most} bytes of temporary files`);
    for (const line of ended.stdout.trim().split('\n')) JSON.parse(line);
    assert.deepEqual(
      readdirSync(sticks.tmpDir).filter((name) => name.endsWith('.tmp')),
      [],
    );
    // Nothing is missing: only the volume with the catalog is needed.
    sticks.unplug();
    assert.deepEqual(await feed(sticks, sticks.start(registry.host)), [1]);
  });

  test('wrong sticks are refused by name', async (t) => {
    const [host, sticks] = [await serveStore(t), await Sticks.of(t)];
    const otherBundle = join(temp(t), 'site.tar');
    await airlift(['export', `${source}/team/two:1`, '-o', otherBundle, '--quiet']);
    const [other, elsewhere] = [temp(t), temp(t)];
    await splitBundle(otherBundle, { output: join(other, 'site.tar'), volumeSize });
    await splitBundle(otherBundle, { output: join(elsewhere, 'june.tar'), volumeSize });
    const good = join(temp(t), 'good');
    const extra = join(temp(t), 'extra');
    mkdirSync(extra);
    const started = sticks.start(host, '--volume-dir', extra);
    const steps: ((number: number) => void)[] = [
      () => sticks.plug(2),
      () => {
        sticks.unplug();
        for (const name of readdirSync(other)) copyFileSync(join(other, name), join(extra, name));
      },
      () => {
        for (const name of readdirSync(extra)) rmSync(join(extra, name));
        for (const name of readdirSync(elsewhere)) copyFileSync(join(elsewhere, name), join(extra, name));
      },
      () => {
        for (const name of readdirSync(extra)) rmSync(join(extra, name));
        // The same name and size, without the list that tells them apart.
        copyFileSync(sticks.path(2), join(extra, 'site.tar.001'));
      },
      () => writeFileSync(join(extra, 'site.tar.001'), 'cut'),
      () => {
        rmSync(join(extra, 'site.tar.001'));
        sticks.plug(1);
      },
      (number) => {
        assert.equal(number, 2);
        copyFileSync(sticks.path(2), good);
        flip(sticks.path(2), 7000);
        sticks.plug(2);
      },
      () => copyFileSync(good, join(sticks.mount, sticks.name(2))),
    ];
    const { asked, ended } = await answer(started, (number, at) => {
      const step = steps[at];
      if (step === undefined) sticks.plug(number);
      else step(number);
    });
    assert.equal(ended?.code, 0, ended?.stderr);
    assert.deepEqual(asked, [1, 1, 1, 1, 1, 1, 2, 2, ...all().slice(2)]);
    const text = ended.stderr.replaceAll(sticks.mount, 'MOUNT').replaceAll(extra, 'EXTRA');
    for (const want of [
      'site.tar.001 is not in MOUNT, EXTRA\ninsert volume 1',
      'MOUNT has volume 2 of this set, not volume 1\ninsert volume 1',
      'EXTRA has volumes of another bundle: its site.tar.volumes differs\ninsert volume 1',
      'EXTRA has volumes of another bundle: june.tar.001',
      'EXTRA/site.tar.001 is damaged, or of another bundle with this name: digest mismatch; got sha256:',
      'EXTRA/site.tar.001 is incomplete; got 3 bytes, want 524288: copy only this volume again\ninsert volume 1',
      'MOUNT/site.tar.002 is damaged, or of another bundle',
      `breaks ${source}/team/large:1\n`,
    ])
      assert.ok(text.includes(want), `${want}\n---\n${text}`);
    await holdsAll(host);
  });

  test('without a further stick nothing is published, and the next run asks only for what is missing', async (t) => {
    const [host, sticks] = [await serveStore(t), await Sticks.of(t)];
    const started = sticks.start(host);
    const stopped = await answer(started, (number) => {
      if (number < count) sticks.plug(number);
      else started.type(undefined);
    });
    assert.equal(stopped.ended?.code, 1);
    assert.match(
      stopped.ended.stderr,
      new RegExp(
        `volume ${count} of ${count} \\(${sticks.name(count)}\\) is missing in .*, and standard input has ended\n.*hint: insert it and run the same`,
      ),
    );
    await holdsNoImage(host);
    sticks.unplug();
    const asked = await feed(sticks, sticks.start(host));
    assert.equal(asked[0], 1);
    assert.ok(
      asked.length <= 5,
      `asked for ${asked.join(', ')}: 1, and those of the blob at the last border`,
    );
    await holdsAll(host);
  });

  test('kill -9 and Ctrl-C between volumes: the next run goes on', async (t) => {
    const [host, sticks] = [await serveStore(t), await Sticks.of(t)];
    for (const [signal, last] of [
      ['SIGKILL', 3],
      ['SIGINT', 5],
    ] as const) {
      const started = sticks.start(host);
      await answer(started, (number) => {
        if (number < last) {
          sticks.plug(number);
          return true;
        }
        started.send(signal);
        return false;
      });
      const { code, signal: by } = await started.ended;
      assert.deepEqual([code, by], signal === 'SIGKILL' ? [null, 'SIGKILL'] : [130, null]);
      await holdsNoImage(host);
      sticks.unplug();
    }
    assert.deepEqual(
      readdirSync(sticks.tmpDir).filter((name) => name.endsWith('.tmp')),
      [],
    );
    await feed(sticks, sticks.start(host));
    await holdsAll(host);
  });

  test('a set that is complete is imported without a question; two volumes at a time need half of the questions', async (t) => {
    const [host, sticks] = [await serveStore(t), await Sticks.of(t)];
    for (const number of all()) copyFileSync(sticks.path(number), join(sticks.mount, sticks.name(number)));
    const { ended } = await answer(sticks.start(host), () => assert.fail('asked'));
    assert.equal(ended?.code, 0, ended?.stderr);
    await holdsAll(host);
    // Two volumes at a time: a question for every other one.
    const [second, pairs] = [await serveStore(t), await Sticks.of(t)];
    const { asked, ended: paired } = await answer(pairs.start(second), (number) => {
      for (const name of readdirSync(pairs.mount))
        if (!name.endsWith('volumes')) rmSync(join(pairs.mount, name));
      for (const each of [number, number + 1])
        if (each <= count) copyFileSync(pairs.path(each), join(pairs.mount, pairs.name(each)));
    });
    assert.equal(paired?.code, 0, paired?.stderr);
    assert.deepEqual(
      asked,
      all().filter((number) => number % 2 === 1),
    );
    await holdsAll(second);
  });

  test('a signature is required before anything is pushed', async (t) => {
    const sticks = await Sticks.of(t);
    const keys = temp(t);
    const mine = await keygen({ output: join(keys, 'mine.key') });
    const other = await keygen({ output: join(keys, 'other.key') });
    const host = await serveStore(t);
    const proxy = await startFaultProxy({ upstream: `http://${host}` });
    t.after(() => proxy.stop());
    const refused = await answer(sticks.start(proxy.host, '--require-signature', other.publicKey), (number) =>
      sticks.plug(number),
    );
    assert.equal(refused.ended?.code, 4, refused.ended?.stderr);
    assert.deepEqual(refused.asked, [1]);
    assert.deepEqual(proxy.log.requests, []);
    await airlift(['sign', bundle, '--key', mine.secretKey]);
    t.after(() => rmSync(`${bundle}.minisig`, { force: true }));
    copyFileSync(`${bundle}.minisig`, join(sticks.mount, 'site.tar.minisig'));
    sticks.unplug();
    assert.deepEqual(await feed(sticks, sticks.start(host, '--require-signature', mine.publicKey)), all());
    await holdsAll(host);
  });

  test('a delta proves its base before it asks for layers', async (t) => {
    const host = await serveStore(t);
    const dir = temp(t);
    const base = join(dir, 'base.tar');
    const delta = join(dir, 'site.tar');
    await airlift(['export', `${source}/team/one:1`, '-o', base, '--quiet']);
    const names = Object.keys(images).map((name) => `${source}/${name}:1`);
    await airlift(['export', ...names, '--base', base, '-o', delta, '--quiet']);
    const sticks = await Sticks.of(t, delta);
    const missing = await answer(sticks.start(host), (number) => sticks.plug(number));
    assert.equal(missing.ended?.code, 1);
    assert.deepEqual(missing.asked, [1]);
    assert.match(missing.ended.stderr, /layers that it leaves out are missing in .*; nothing was pushed/);
    sticks.unplug();
    await feed(sticks, sticks.start(host, '--base', base));
    await holdsAll(host);
    const second = await serveStore(t);
    await airlift(['import', base, '--to', second, '--quiet']);
    sticks.unplug();
    await feed(sticks, sticks.start(second));
    await holdsAll(second);
  });

  test('existing tags are kept before anything is asked', async (t) => {
    const [host, sticks] = [await serveStore(t), await Sticks.of(t)];
    for (const name of Object.keys(images))
      await pushImage(host, name, '1', images['team/two'] ?? assert.fail());
    const kept = await answer(sticks.start(host, '--on-existing-tag', 'error'), (number) =>
      sticks.plug(number),
    );
    assert.equal(kept.ended?.code, 1);
    assert.match(kept.ended.stderr, /tag is taken/);
    assert.deepEqual(kept.asked, [1]);
    sticks.unplug();
    assert.deepEqual(await feed(sticks, sticks.start(host, '--on-existing-tag', 'skip')), [1]);
  });

  test('a stick that fails while its layers are sent is asked for again', async (t) => {
    const sticks = await Sticks.of(t);
    sticks.plug(1);
    const asked: number[] = [];
    let failing: { readonly number: number; readonly bytes: Buffer } | undefined;
    const told: string[] = [];
    const ask: AskVolume = ({ number, problems }) => {
      told.push(...problems);
      if (number !== failing?.number) sticks.plug(number);
      else {
        const path = join(sticks.mount, sticks.name(number));
        writeFileSync(path, failing.bytes);
      }
      asked.push(number);
      return Promise.resolve('');
    };
    const inputs = [join(sticks.mount, 'site.tar.volumes')];
    const opened = await WaitedBundle.open({ inputs, askVolume: ask, archives: { tmpDir: sticks.tmpDir } });
    assert.ok(opened !== undefined);
    const { bundle: waited, inputs: front } = opened;
    const sent = new Set<string>();
    const pushBlob: Publisher['pushBlob'] = async ({ descriptor }) => {
      const number = asked.at(-1) ?? 0;
      if (number >= 3 && failing === undefined) {
        const path = join(sticks.mount, sticks.name(number));
        failing = { number, bytes: readFileSync(path) };
        truncateSync(path);
      }
      const verifier = new Verifier(descriptor.digest, descriptor.size);
      const content = await front.source.fetch({ registry: '', repository: '' }, descriptor);
      for await (const chunk of content as AsyncIterable<Buffer>) verifier.update(chunk);
      verifier.end();
      sent.add(descriptor.digest);
    };
    const site = { exists: () => Promise.resolve(false) };
    const sending = {
      to: { registry: 'site:5000' },
      concurrency: 2,
      keepGoing: true,
      kept: new Set<string>(),
    };
    await new VolumeSender(waited, site, { pushBlob }, sending).send();
    const want = Object.values(images).flatMap((image) => {
      const configs = configsOf(image);
      return [...image.blobs.keys()].filter((digest) => !configs.has(digest));
    });
    assert.deepEqual([...sent].sort(), [...new Set<string>(want)].sort());
    assert.match(
      told.join('\n'),
      /^\S+\/site\.tar\.\d{3} is incomplete; got 0 bytes, want \d+: copy only this volume again$/,
    );
    const again = asked.filter((number) => number === failing?.number);
    assert.ok(again.length > 1, `asked for ${asked.join(', ')}`);
    assert.deepEqual([...new Set(asked)], all().slice(1));
    await front.close();
  });

  test('wrong combinations are errors with the next command', async (t) => {
    const mount = temp(t);
    for (const [args, code, want] of [
      [['-', '--to', 'localhost:1'], 2, /--volume-wait needs standard input/],
      [[bundle, '-o', join(mount, 'x.tar')], 2, /import --output: --volume-wait applies only/],
      [[bundle, '--to', 'localhost:1', '--dry-run'], 2, /omit --volume-wait/],
      [[join(mount, 'site.tar.volumes'), '--to', 'localhost:1'], 1, /no such file\n.*insert the first stick/],
    ] as const) {
      const { stderr } = await airlift(['import', ...args, '--volume-wait'], { codes: [code] });
      assert.match(stderr, want);
    }
  });
});
