import type { Descriptor } from './descriptor.js';
import { algorithmOf, digestOf } from './digest.js';
import { maxManifestSize } from './manifest.js';

/** Returns the content that a descriptor embeds, if it matches the descriptor (OCI image-spec, descriptor.md, `data`). */
export function inlineContent(descriptor: Descriptor): Buffer | undefined {
  if (descriptor.data === undefined || descriptor.size > maxManifestSize) return undefined;
  const bytes = Buffer.from(descriptor.data, 'base64');
  const isRight =
    bytes.byteLength === descriptor.size &&
    digestOf(bytes, algorithmOf(descriptor.digest)) === descriptor.digest;
  return isRight ? bytes : undefined;
}
