/** Signatures and SBOMs are found after an import by the programs that made them. */
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { startDockerRegistry } from '../support/docker-registry.js';
import { multiPlatform } from '../support/image-sets.js';
import { needs } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { serveStore } from '../support/serve-store.js';
import { temp, type Cleanup } from '../support/temp.js';
import { versionsOf } from './programs.js';
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
      await airlift(['import', bundle, '--to', site]);

      for (const { path } of versionsOf('cosign'))
        for (const name of [at(site), `${site}/acme/app:1`]) await signer.verify(path, name);
      for (const { path } of versionsOf('oras')) await assertDiscovers(path, at(site));
    });
});
