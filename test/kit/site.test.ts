/** A person at a site that has nothing: no Node.js, no network, no root, only the medium. */
import assert from 'node:assert/strict';
import { chmodSync, cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import type { KitSummary } from '../../src/kit/summary.js';
import { serve } from '../../src/serve/serve.js';
import { afterSuite } from '../support/after-suite.js';
import { airlift } from '../support/airlift.js';
import { assortment } from '../support/image-sets.js';
import { needs, run, type RunResult } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { serveStore } from '../support/serve-store.js';
import { temp } from '../support/temp.js';
import { sameContent, walkImage, walkRegistry } from '../support/walk.js';
import { tamperBySql } from '../bundle/verify/tamper.js';
import { inRoot, makeRoot, needsEmptyRoot, removeRoot } from './empty-root.js';
import { needsRuntime, temporaryKit } from './local-kit.js';

const images = Object.values(assortment()).slice(0, 3);

describe('an empty site', { skip: needsRuntime() || needsEmptyRoot() || needs('zstd') }, () => {
  const t = afterSuite();
  let kit: KitSummary;
  let root: string;
  let sums: string;

  /** Runs commands as a user without rights and without a network. */
  const onSite = (script: string, codes = [0]): Promise<RunResult> => {
    const [command, args] = inRoot(root, `cd /media\n${script}`);
    return run(command, args, { codes });
  };

  before(async () => {
    kit = await temporaryKit(t);
    root = makeRoot(kit.directory);
    t.after(() => removeRoot(root));
    const connected = await serveStore(t);
    for (const { repository, tag, image } of images) await pushImage(connected, repository, tag, image);
    const bundle = join(root, 'media', 'site.tar');
    const names = images.map(({ repository, tag }) => `${connected}/${repository}:${tag}`);
    const { stdout } = await airlift(['export', ...names, '-o', bundle, '--json', '-q']);
    sums = (JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as { sums: string }).sums;
  });

  test('checks the medium by its own programs, and then by airlift', async () => {
    const { stdout } = await onSite(`
      sha256sum airlift/SHA256SUMS
      tar xOf site.tar airlift/SHA256SUMS | sha256sum
      (cd airlift && sha256sum -c SHA256SUMS)
      sh airlift/airlift verify site.tar`);
    const lines = stdout.split('\n');
    assert.equal(`sha256:${lines[0]?.slice(0, 64)}`, kit.sums);
    assert.equal(`sha256:${lines[1]?.slice(0, 64)}`, sums);
    assert.match(stdout, /linux-\w+\.gz: OK\n/);
    assert.match(stdout, /\nverified site\.tar: \d+ images?, .* nothing lost or changed\n/);
    assert.match(stdout, new RegExp(`SHA256SUMS digest: ${sums}\n`));
  });

  test('imports the bundle into a registry of its own, which then has every byte', async (t) => {
    await onSite(`
      sh airlift/airlift serve --store /tmp/registry --listen 127.0.0.1:5000 >/tmp/log 2>&1 &
      server=$!
      for turn in $(seq 100); do
        wget -q -O /dev/null http://127.0.0.1:5000/v2/ && break
        sleep 1
      done
      sh airlift/airlift import site.tar --to 127.0.0.1:5000
      sh airlift/airlift save site.tar --format k3s --platform linux/amd64 -o /tmp/k3s
      kill $server
      wait $server || true`);
    // The library serves what the executable stored.
    const store = join(temp(t), 'registry');
    cpSync(join(root, 'tmp', 'registry'), store, { recursive: true });
    const serving = await serve({ store }, { port: 0 });
    t.after(() => serving.close());
    for (const { repository, tag, image } of images) {
      const { content } = await walkRegistry(`127.0.0.1:${serving.port}`, repository, tag ?? '');
      sameContent(content, await walkImage(image));
    }
    const saved = readdirSync(join(root, 'tmp')).find((name) => name.startsWith('k3s'));
    await run('zstd', ['-t', join(root, 'tmp', saved ?? '')]);
  });

  test('starts again without unpacking, and gets plain errors', async () => {
    const kept = /^\S+ +\d+ +65534/m;
    const { stdout } = await onSite('sh airlift/airlift --version; ls -ln /var/tmp/airlift-kit-65534');
    assert.match(stdout, kept);
    const missing = await onSite('sh airlift/airlift import none.tar --to 127.0.0.1:1', [1, 2]);
    assert.match(missing.stderr, /none\.tar/);
    assert.doesNotMatch(missing.stderr, / at .*\.js:|node:internal/);
    const newer = join(root, 'media', 'newer.tar');
    cpSync(join(root, 'media', 'site.tar'), newer);
    await tamperBySql(newer, 'PRAGMA user_version = 99');
    for (const command of ['verify newer.tar', 'import newer.tar --to 127.0.0.1:1', 'serve newer.tar']) {
      const refused = await onSite(`sh airlift/airlift ${command}`, [1]);
      assert.match(
        refused.stderr,
        /unknown format version; got 99, want 1 or 2\n {2}hint: use the airlift version/,
      );
    }
    const nested = await onSite('sh airlift/airlift kit -o /tmp/other', [1]);
    assert.match(
      nested.stderr,
      /this airlift does not contain the files for kits\n {2}hint: run airlift kit where airlift is installed by npm/,
    );
  });

  test('gets an error that names the missing library', async () => {
    const [library = ''] = (await run('find', [root, '-name', 'libstdc++.so.6'], {})).stdout.split('\n');
    const content = readFileSync(library);
    rmSync(library);
    rmSync(join(root, 'var', 'tmp', 'airlift-kit-65534'), { recursive: true, force: true });
    const { stderr } = await onSite('sh airlift/airlift --version', [1]);
    assert.match(
      stderr,
      /lacks a library that Node\.js needs: .*libstdc\+\+\.so\.6.*\n {2}hint: install libstdc\+\+ /,
    );
    writeFileSync(library, content);
    chmodSync(library, 0o755);
  });
});
