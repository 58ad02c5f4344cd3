import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { airlift } from '../support/airlift.js';
import { busyboxImage } from '../support/busybox.js';
import type { TestImage } from '../support/images.js';
import { newHome } from '../support/home.js';
import { run } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { temp, type Cleanup } from '../support/temp.js';
import { anyOf, needsClients } from './programs.js';

const sbomType = 'application/spdx+json';
/** Flags of cosign for keys and registries of a test. */
const offline = ['--tlog-upload=false', '--use-signing-config=false', '--allow-http-registry', '--yes'];

/** Signs and verifies images with a key that it made. */
interface Signer {
  /** Path of its public key. */
  readonly publicKey: string;
  /** Signs an image under a tag, as older versions of cosign do, and as a referrer, as new ones do, and attaches an SBOM by oras. */
  sign(name: string): Promise<void>;
  /** Verifies an image, in the two ways in which cosign looks for signatures. */
  verify(cosign: string, name: string): Promise<void>;
}

export async function makeSigner(t: Cleanup): Promise<Signer> {
  const dir = temp(t);
  const env = { ...newHome(t).env, COSIGN_PASSWORD: 'only for this test' };
  await run(anyOf('cosign'), ['generate-key-pair', '--output-key-prefix', 'own'], { env, cwd: dir });
  writeFileSync(join(dir, 'sbom.json'), '{"spdxVersion":"SPDX-2.3"}');
  return {
    publicKey: join(dir, 'own.pub'),
    async sign(name) {
      for (const isBundle of [false, true]) {
        const flags = ['--key', 'own.key', ...offline, `--new-bundle-format=${isBundle}`];
        await run(anyOf('cosign'), ['sign', ...flags, name], { env, cwd: dir });
      }
      const attach = ['attach', '--plain-http', '--artifact-type', sbomType, name, `sbom.json:${sbomType}`];
      await run(anyOf('oras'), attach, { env, cwd: dir });
    },
    async verify(cosign, name) {
      for (const isBundle of [false, true]) {
        const flags = ['--key', 'own.pub', '--insecure-ignore-tlog=true', '--allow-http-registry'];
        await run(cosign, ['verify', ...flags, `--new-bundle-format=${isBundle}`, name], { env, cwd: dir });
      }
    },
  };
}

/** Asserts that a version of oras lists the signature and the SBOM of an image. */
export async function assertDiscovers(oras: string, name: string): Promise<void> {
  const { stdout } = await run(oras, ['discover', '--plain-http', '--format', 'json', name]);
  const { referrers } = JSON.parse(stdout) as { referrers: { artifactType: string }[] };
  assert.deepEqual(referrers.map(({ artifactType }) => artifactType).sort(), [
    sbomType,
    'application/vnd.dev.sigstore.bundle.v0.3+json',
  ]);
}

/** The name of the image in the bundle. */
export const name = 'docker.io/acme/box:1';

export interface SignedBundle {
  readonly path: string;
  /** Busybox for three platforms. */
  readonly image: TestImage;
  /** Undefined if a program to sign it is missing. */
  readonly signer: Signer | undefined;
}

/** Why the image is not signed, or false. */
export const unsigned = needsClients('cosign', 'oras');

/** Exports an image, signed if possible, from a registry as `docker.io/acme/box:1`. */
export async function exportSigned(t: Cleanup, registry: string): Promise<SignedBundle> {
  const image = busyboxImage();
  await pushImage(registry, 'acme/box', '1', image);
  const signer = unsigned === false ? await makeSigner(t) : undefined;
  await signer?.sign(`${registry}/acme/box@${image.root.digest}`);
  const path = join(temp(t), 'site.tar');
  await airlift(['export', name, '--mirror', `docker.io=http://${registry}`, '-o', path, '-q']);
  return { path, image, signer };
}
