import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { loadImages } from '../../src/load/load.js';
import { hexOf } from '../../src/oci/digest.js';
import { parsePlatform } from '../../src/oci/platform.js';
import { airlift } from '../support/airlift.js';
import { failsWith } from '../support/errors.js';
import { multiPlatform } from '../support/image-sets.js';
import { childOf, listeningSocket, loadBundle, standIn, type LoadBundle } from '../support/loading.js';
import { needs, run } from '../support/peers.js';
import { temp, type Cleanup } from '../support/temp.js';

// k3s, RKE2, k0s, microk8s and kind are not installed where the tests run: a stand-in records what they would get.
describe('loading into Kubernetes distributions', { skip: needs('tar', 'zstd') }, () => {
  const cleanups: (() => Promise<void> | void)[] = [];
  const image = multiPlatform({ name: 'app' });
  const child = childOf(image, 'arm64');
  let bundle: LoadBundle;
  let names: string[] = [];

  before(async () => {
    bundle = await loadBundle({ after: (work) => void cleanups.push(work) }, { 'acme/app': image });
    const name = bundle.names.get('acme/app') ?? '';
    names = [`${name}:1`, `${name}@${image.root.digest}`, `${name}@${await bundle.filtered('acme/app')}`];
  });
  after(async () => {
    for (const work of cleanups.toReversed()) await work();
  });

  /** Returns the body of a stand-in for ctr: it lists the images once they have been imported. */
  function ctr(t: Cleanup): string {
    const state = join(temp(t), 'imported');
    const ls = names.map((name) => `${name} type ${child.manifest} 1 B linux/arm64 ${pinned}`);
    const check = names.map((name) => `${name} type ${child.manifest} complete (2/2) 1 B/1 B true`);
    writeFileSync(`${state}.ls`, `REF TYPE DIGEST SIZE PLATFORMS LABELS\n${ls.join('\n')}\n`);
    writeFileSync(`${state}.check`, `REF TYPE DIGEST STATUS SIZE UNPACKED\n${check.join('\n')}\n`);
    return `case " $* " in
      *" import "*) touch '${state}' ;;
      *" ls "*) if [ -e '${state}' ]; then cat '${state}.ls'; else echo 'REF TYPE DIGEST'; fi ;;
      *" check "*) cat '${state}.check' ;;
    esac`;
  }

  /** Checks an archive with tar: the manifest, its blobs and its names. */
  async function checkArchive(file: string): Promise<void> {
    const { stdout: index } = await run('tar', ['-xOf', file, 'index.json']);
    const { manifests } = JSON.parse(index) as {
      manifests: { digest: string; annotations: Record<string, string> }[];
    };
    const found = manifests.map(({ annotations }) => annotations['io.containerd.image.name']);
    assert.deepEqual(found.toSorted(), names.toSorted());
    assert.deepEqual([...new Set(manifests.map(({ digest }) => digest))], [child.manifest]);
    const { stdout: list } = await run('tar', ['-tf', file]);
    for (const digest of [child.manifest, child.config]) assert.ok(list.includes(hexOf(digest)), digest);
    assert.match(list, /manifest\.json\nindex\.json\n$/);
  }

  const pinned = 'io.cri-containerd.pinned=pinned';
  const load = (...args: string[]): string[] => ['load', bundle.path, '--platform', 'linux/arm64', ...args];

  for (const engine of ['k3s', 'k0s', 'microk8s'] as const) {
    test(`${engine} ctr imports the image, lists it and pins its names`, async (t) => {
      const program = standIn(t, engine, ctr(t));
      const address = engine === 'microk8s' ? [] : ['--address', await listeningSocket(t)];
      const args = load('--into', engine, ...address);
      const { stdout } = await airlift(args, { env: program.env });
      assert.match(stdout, new RegExp(`^loaded 1 image for linux/arm64 into ${engine} `, 'm'));
      const calls = program.calls();
      const unpack = process.arch === 'arm64' ? [] : ['--no-unpack'];
      assert.deepEqual(
        calls.map((call) => call.args),
        [
          ['ctr', ...address, 'images', 'ls'],
          ['ctr', ...address, 'images', 'import', '--all-platforms', ...unpack, '-'],
          ...names.map((name) => ['ctr', ...address, 'images', 'label', name, pinned]),
          ['ctr', ...address, 'images', 'ls'],
          ['ctr', ...address, 'images', 'check'],
        ],
      );
      const file = join(temp(t), 'sent.tar');
      writeFileSync(file, calls[1]?.input ?? '');
      await checkArchive(file);
      const again = await airlift(args, { env: program.env });
      assert.match(again.stdout, /^loaded 0 images .*, 1 already present$/m);
    });
  }

  test('RKE2 is reached by the ctr in its data directory, with its socket and namespace', async (t) => {
    const dataDir = temp(t);
    const program = standIn(t, 'ctr', ctr(t), join(dataDir, 'bin'));
    const address = await listeningSocket(t);
    await airlift(load('--into', 'rke2', '--data-dir', dataDir, '--address', address));
    const [first, second] = program.calls();
    const flags = ['--address', address, '--namespace', 'k8s.io'];
    assert.deepEqual(first?.args, [...flags, 'images', 'ls']);
    assert.deepEqual(second?.args.slice(0, 6), [...flags, 'images', 'import']);
  });

  test('kind: each node of the cluster gets the image through docker exec', async (t) => {
    const body = ctr(t);
    const docker = standIn(
      t,
      'docker',
      `case "$1" in
        ps) printf 'lab-worker worker\\nlab-lb external-load-balancer\\nlab-control-plane control-plane\\n' ;;
        version) echo '28.0.1 linux amd64' ;;
        info) echo '[]' ;;
        exec) case "$3" in lab-worker) ${body} ;; *) ${ctr(t)} ;; esac ;;
      esac`,
    );
    const { stdout } = await airlift(load('--into', 'kind', '--cluster', 'lab'), { env: docker.env });
    assert.match(stdout, new RegExp(`^loaded on lab-control-plane: ${names[0]} ${child.manifest}$`, 'm'));
    assert.match(stdout, new RegExp(`^loaded on lab-worker: ${names[0]} ${child.manifest}$`, 'm'));
    const calls = docker.calls();
    assert.ok(calls[0]?.args.includes('label=io.x-k8s.kind.cluster=lab'));
    const imports = calls.filter(({ args }) => args.includes('import'));
    assert.deepEqual(
      imports.map(({ args }) => args.slice(0, 7)),
      ['lab-control-plane', 'lab-worker'].map((node) => [
        ...['exec', '--interactive', node, 'ctr', '--namespace', 'k8s.io', 'images'],
      ]),
    );
    assert.ok(imports[0]?.input.equals(imports[1]?.input ?? Buffer.alloc(0)));
    const none = standIn(t, 'docker', 'exit 0');
    const { stderr } = await airlift(load('--into', 'kind'), { env: none.env, codes: [1] });
    assert.match(stderr, /load into kind: no running node of cluster kind\n.*kind get clusters.*--cluster/);
  });

  for (const [engine, folder, file] of [
    ['k3s', 'agent/images', 'site-images-arm64.tar.zst'],
    ['rke2', 'agent/images', 'site-images-arm64.tar.zst'],
    ['k0s', 'images', 'site-images-arm64.tar'],
  ] as const) {
    test(`${engine} that does not run gets an archive for its start`, async (t) => {
      const dataDir = temp(t);
      const { stdout } = await airlift(load('--into', engine, '--data-dir', dataDir, '--to-folder'));
      const path = join(dataDir, folder, file);
      assert.match(stdout, new RegExp(`^wrote 1 image for linux/arm64 to ${path}: `, 'm'));
      assert.match(stdout, new RegExp(`^next: ${engine} imports the file when it starts: `, 'm'));
      assert.deepEqual(readdirSync(join(dataDir, folder)), [file]);
      const plain = join(dataDir, 'plain.tar');
      if (file.endsWith('.zst')) await run('zstd', ['-q', '-d', path, '-o', plain]);
      await checkArchive(existsSync(plain) ? plain : path);
      const before = readFileSync(path);
      await airlift(load('--into', engine, '--data-dir', dataDir));
      assert.ok(readFileSync(path).equals(before));
    });
  }

  test('an interrupted load into a directory leaves nothing, and its error names load', async (t) => {
    const dataDir = temp(t);
    const stop = new AbortController();
    await failsWith(
      loadImages({
        from: { files: [bundle.path] },
        engine: 'k3s',
        platform: parsePlatform('linux/arm64'),
        dataDir,
        toFolder: true,
        signal: stop.signal,
        onEvent: ({ event }) => {
          if (event === 'blob') stop.abort();
        },
      }),
      'interrupted',
      /^load: interrupted$/,
    );
    assert.deepEqual(readdirSync(join(dataDir, 'agent', 'images')), []);
  });

  test('a failing engine is an error that quotes it, and nothing counts as loaded', async (t) => {
    const program = standIn(
      t,
      'microk8s',
      `case " $* " in *" ls "*) echo REF ;; *) echo 'ctr: no space left on device' >&2; exit 1 ;; esac`,
    );
    const { stderr, stdout } = await airlift(load('--into', 'microk8s'), { env: program.env, codes: [1] });
    assert.equal(stdout, '');
    assert.match(stderr, /load into microk8s: microk8s images import: ctr: no space left on device/);
    assert.match(stderr, /hint: free space in the data directory of the engine/);
    const silent = standIn(t, 'microk8s', 'case " $* " in *" ls "*) echo REF ;; esac');
    const lost = await airlift(load('--into', 'microk8s'), { env: silent.env, codes: [1] });
    assert.match(lost.stderr, /load into microk8s: the engine does not hold every image in full\n/);
    assert.ok(lost.stderr.includes(names[0] ?? ''));
  });
});
