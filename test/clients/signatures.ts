/** Signatures and SBOMs are found after an import by the programs that made them. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { writeBundle } from '../bundle/write-bundle.js';
import { airlift } from '../support/airlift.js';
import { startDockerRegistry } from '../support/docker-registry.js';
import { newHome } from '../support/home.js';
import { multiPlatform } from '../support/image-sets.js';
import { needs, run } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { serveStore } from '../support/serve-store.js';
import { temp, type Cleanup } from '../support/temp.js';
import { needsClients, versionsOf } from './programs.js';
import { assertDiscovers, makeSigner, unsigned } from './signed-bundle.js';

const image = multiPlatform({ name: 'signed for real' });

async function dockerRegistry(t: Cleanup): Promise<string> {
  const registry = await startDockerRegistry();
  t.after(() => registry.stop());
  return registry.host;
}

const skip = unsigned || needs('docker-registry');
describe('the makers of signatures and SBOMs find them after import', { skip }, () => {
  const registries = [
    ['a registry with lists under tags', dockerRegistry],
    ['a registry with the referrers API', serveStore],
  ] as const;
  for (const [kind, start] of registries)
    test(`cosign verifies and oras discovers, from and to ${kind}`, async (t) => {
      const [source, site] = [await start(t), await start(t)];
      const at = (host: string): string => `${host}/acme/app@${image.root.digest}`;
      await pushImage(source, 'acme/app', '1', image);
      const signer = await makeSigner(t);
      await signer.sign(at(source));

      const bundle = join(temp(t), 'site.tar');
      await airlift(['export', `${source}/acme/app:1`, '-o', bundle]);
      const verified = await airlift(['verify', bundle, '--cosign-key', signer.publicKey]);
      assert.match(verified.stdout, /\/acme\/app:1: signed by key sha256:[0-9a-f]{64} \(a tag of cosign\)/);
      await airlift(['import', bundle, '--to', site]);

      for (const { path } of versionsOf('cosign'))
        for (const name of [at(site), `${site}/acme/app:1`]) await signer.verify(path, name);
      for (const { path } of versionsOf('oras')) await assertDiscovers(path, at(site));
    });
});

test('cosign checks the ECDSA signature of a bundle', { skip: needsClients('cosign') }, async (t) => {
  const dir = temp(t);
  await airlift(['keygen', '-o', 'site.key', '-W', '--type', 'ecdsa-p256'], { cwd: dir });
  await writeBundle(join(dir, 'site.tar'), [{ reference: 'registry.example/acme/app:1', image }]);
  await airlift(['sign', 'site.tar', '--key', 'site.key'], { cwd: dir });
  await run('sh', ['-c', 'tar xOf site.tar airlift/SHA256SUMS > SHA256SUMS'], { cwd: dir });
  const args = ['--key', 'site.pub', '--signature', 'site.tar.sig', '--insecure-ignore-tlog', 'SHA256SUMS'];
  for (const { path } of versionsOf('cosign'))
    assert.match((await run(path, ['verify-blob', ...args], { cwd: dir })).stderr, /Verified OK/);
});

const skipFiltered = needsClients('cosign') || needs('docker-registry');
test('cosign verifies a filtered image by tag', { skip: skipFiltered }, async (t) => {
  const [source, site] = [await dockerRegistry(t), await dockerRegistry(t)];
  await pushImage(source, 'acme/app', '1', image);
  const dir = temp(t);
  for (const name of ['images', 'other'])
    await airlift(['keygen', '-o', `${name}.key`, '-W', '--type', 'ecdsa-p256'], { cwd: dir });
  const flags = ['--platform', 'linux/amd64', '--sign-images', 'images.key', '-o', 'site.tar'];
  await airlift(['export', `${source}/acme/app:1`, ...flags], { cwd: dir });
  await airlift(['import', 'site.tar', '--to', site], { cwd: dir });
  // Versions differ in the code for signatures that do not match.
  const refused = [1, 12];
  for (const { path } of versionsOf('cosign')) {
    const verify = (key: string, original: string, codes: number[]): Promise<unknown> => {
      const where = ['--insecure-ignore-tlog=true', '--allow-http-registry', `${site}/acme/app:1`];
      const args = ['verify', '--key', key, '-a', `airlift.original=${original}`, ...where];
      return run(path, args, { cwd: dir, env: newHome(t).env, codes });
    };
    await verify('images.pub', image.root.digest, [0]);
    await verify('other.pub', image.root.digest, refused);
    await verify('images.pub', `sha256:${'0'.repeat(64)}`, refused);
  }
});
