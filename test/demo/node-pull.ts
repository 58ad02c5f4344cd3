import { gunzipSync } from 'node:zlib';
import { platformJson, type DescriptorJson, type PlatformJson } from '../support/images.js';
import { getContent } from '../support/registry-http.js';

/** An image as a container runtime pulls it from a registry. */
export interface Pulled {
  readonly digest: string;
  /** Platform in the image's config. */
  readonly platform: PlatformJson;
  /** The text line in the image's program. */
  readonly program: string;
}

interface Index {
  readonly manifests: readonly DescriptorJson[];
}
interface Manifest {
  readonly config: DescriptorJson;
  readonly layers: readonly DescriptorJson[];
}

/**
 * Pulls `repository:tag` as a node of `platform` does: the index under the tag, its manifest for the platform, and the config and
 * layers of that manifest. Returns undefined if the index has no entry for the platform.
 */
export async function pullAsNode(
  host: string,
  repository: string,
  tag: string,
  platform: string,
): Promise<Pulled | undefined> {
  const index = JSON.parse(
    (await getContent(host, `/v2/${repository}/manifests/${tag}`)).toString(),
  ) as Index;
  const want = platformJson(platform);
  const entry = index.manifests.find(
    ({ platform: have }) =>
      have?.os === want.os && have.architecture === want.architecture && have.variant === want.variant,
  );
  if (entry === undefined) return undefined;
  const bytes = await getContent(host, `/v2/${repository}/manifests/${entry.digest}`);
  const manifest = JSON.parse(bytes.toString()) as Manifest;
  const config = JSON.parse(
    (await getContent(host, `/v2/${repository}/blobs/${manifest.config.digest}`)).toString(),
  ) as PlatformJson;
  let program = '';
  for (const { digest } of manifest.layers) {
    const layer = gunzipSync(await getContent(host, `/v2/${repository}/blobs/${digest}`)).toString('latin1');
    program = /^\S+ for \S+$/m.exec(layer)?.[0] ?? program;
  }
  const { os, architecture, variant } = config;
  return {
    digest: entry.digest,
    platform: { os, architecture, ...(variant === undefined ? {} : { variant }) },
    program,
  };
}
