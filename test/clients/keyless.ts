/** cosign and airlift agree about keyless signatures, offline and with the same trusted root. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { newHome } from '../support/home.js';
import { singlePlatform } from '../support/image-sets.js';
import { run } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { serveStore } from '../support/serve-store.js';
import { publisher, signingTime, TestSigstore, type SigningOptions } from '../support/sigstore.js';
import { temp } from '../support/temp.js';
import { needsClients, versionsOf } from './programs.js';

const cases: Readonly<Record<string, SigningOptions>> = {
  good: {},
  'other-identity': { identity: 'https://github.example/acme/apps' },
  'other-issuer': { issuer: 'https://evil.example' },
  ended: { loggedAt: new Date(signingTime.getTime() + 11 * 60_000) },
  unlogged: { isUnlogged: true },
  server: { usage: '1.3.6.1.5.5.7.3.1' },
  changed: { change: (entry) => void (entry.integratedTime = String(Number(entry.integratedTime) + 1)) },
};

test(
  'cosign accepts the keyless signatures that verify accepts',
  { skip: needsClients('cosign') },
  async (t) => {
    const sigstore = new TestSigstore();
    const root = sigstore.writeTrustedRoot(t);
    const registry = await serveStore(t);
    const { env } = newHome(t);
    const who = ['--certificate-identity', publisher.identity, '--certificate-oidc-issuer', publisher.issuer];
    const flags = ['--trusted-root', root, ...who];
    for (const [what, options] of Object.entries(cases))
      for (const isBundle of [false, true]) {
        const image = singlePlatform('linux/amd64', { name: `${what} ${isBundle}` });
        const { digest } = image.root;
        const repository = `acme/${what}-${isBundle}`;
        await pushImage(registry, repository, '1', image);
        if (isBundle)
          await pushImage(registry, repository, 'signature', sigstore.attached(image, digest, options));
        else
          await pushImage(
            registry,
            repository,
            `${digest.replace(':', '-')}.sig`,
            sigstore.tagged(digest, options),
          );
        const bundle = join(temp(t), 'site.tar');
        await airlift(['export', `${registry}/${repository}:1`, '-o', bundle, '-q']);
        const codes = what === 'good' ? [0] : [4];
        await airlift(['verify', bundle, ...flags], { codes });
        const args = ['verify', ...flags, '--allow-http-registry', `--new-bundle-format=${isBundle}`];
        for (const { path } of versionsOf('cosign')) {
          const checked = run(path, [...args, `${registry}/${repository}@${digest}`], { env });
          if (what === 'good') await checked;
          else await assert.rejects(checked, /no matching|no valid|failed/i, what);
        }
      }
  },
);
