/**
 * Checks with cosign and oras that signatures and SBOMs are found after an import: `npm run clients`. Not part of `npm test`, because
 * only Debian unstable has cosign and oras; test/discovery.test.ts checks the same with HTTP requests.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { airlift } from './support/airlift.js';
import { startDockerRegistry } from './support/docker-registry.js';
import { newHome } from './support/home.js';
import { multiPlatform } from './support/image-sets.js';
import { needs, run } from './support/peers.js';
import { pushImage } from './support/push-image.js';
import { serveStore } from './support/serve-store.js';
import { temp, type Cleanup } from './support/temp.js';

const image = multiPlatform({ name: 'signed for real' });

async function dockerRegistry(t: Cleanup): Promise<string> {
  const registry = await startDockerRegistry();
  t.after(() => registry.stop());
  return registry.host;
}

describe(
  'the makers of signatures and SBOMs find them after import',
  {
    skip: needs('cosign', 'oras', 'docker-registry'),
  },
  () => {
    const registries = [
      ['a registry with lists under tags', dockerRegistry],
      ['a registry with the referrers API', serveStore],
    ] as const;
    for (const [kind, start] of registries)
      test(`cosign verifies and oras discovers, from and to ${kind}`, async (t) => {
        const dir = temp(t);
        const { env: home } = newHome(t);
        const env = { ...home, COSIGN_PASSWORD: 'only for this test' };
        const cosign = async (...args: string[]): Promise<string> =>
          (await run('cosign', args, { env, cwd: dir })).stdout;
        const [source, site] = [await start(t), await start(t)];
        const at = (host: string): string => `${host}/acme/app@${image.root.digest}`;
        await pushImage(source, 'acme/app', '1', image);
        await cosign('generate-key-pair', '--output-key-prefix', 'own');
        const offline = [
          '--tlog-upload=false',
          '--use-signing-config=false',
          '--allow-http-registry',
          '--yes',
        ];
        // Under a tag, as older versions of cosign sign, and as a referrer, as new ones do.
        for (const isBundle of [false, true])
          await cosign('sign', '--key', 'own.key', ...offline, `--new-bundle-format=${isBundle}`, at(source));
        writeFileSync(join(dir, 'sbom.json'), '{"spdxVersion":"SPDX-2.3"}');
        const attach = ['attach', '--plain-http', '--artifact-type', 'application/spdx+json', at(source)];
        await run('oras', [...attach, 'sbom.json:application/spdx+json'], { env, cwd: dir });

        const bundle = join(dir, 'site.tar');
        await airlift(['export', `${source}/acme/app:1`, '-o', bundle]);
        await airlift(['import', bundle, '--to', site]);

        const key = ['--key', 'own.pub', '--insecure-ignore-tlog=true', '--allow-http-registry'];
        for (const isBundle of [false, true])
          for (const name of [at(site), `${site}/acme/app:1`])
            assert.ok(
              (await cosign('verify', ...key, `--new-bundle-format=${isBundle}`, name)).includes(
                image.root.digest.slice(7),
              ),
            );
        const discover = ['discover', '--plain-http', '--format', 'json', at(site)];
        const { stdout } = await run('oras', discover, { env, cwd: dir });
        const { referrers } = JSON.parse(stdout) as { referrers: { artifactType: string }[] };
        assert.deepEqual(referrers.map(({ artifactType }) => artifactType).sort(), [
          'application/spdx+json',
          'application/vnd.dev.sigstore.bundle.v0.3+json',
        ]);
      });
  },
);
