import { AirliftError } from '../../errors.js';
import { parseManifest } from '../../oci/manifest.js';

/** Statuses by which registries refuse a manifest for what is in it; distribution 2.8 answers 500 to layers with `urls`. */
const refusals: ReadonlySet<number> = new Set([400, 403, 422, 500]);

/** Whether a manifest has layers that are to be fetched elsewhere (image-spec, descriptor.md, `urls`). */
export function hasLayerUrls(bytes: Uint8Array): boolean {
  // Most manifests have none: those are not parsed.
  if (!Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).includes('"urls"')) return false;
  try {
    const manifest = parseManifest(bytes, undefined, 'manifest');
    return manifest.kind === 'manifest' && manifest.layers.some(({ urls = [] }) => urls.length > 0);
  } catch {
    return false;
  }
}

/** Adds what helps where a registry refuses a manifest that has layers with `urls` (distribution, "validation"). */
export function withLayerUrlsHint(error: unknown): unknown {
  if (!(error instanceof AirliftError) || !refusals.has(error.status ?? 0)) return error;
  return new AirliftError(error.code, `${error.message}; the manifest has layers with urls`, {
    status: error.status,
    reason: error.reason,
    cause: error,
    hint:
      'docker-registry refuses layers with urls, as Windows images have, by default: start it with ' +
      `REGISTRY_VALIDATION_MANIFESTS_URLS_ALLOW='[".*"]', or leave that platform out by --platform of export or copy`,
  });
}
