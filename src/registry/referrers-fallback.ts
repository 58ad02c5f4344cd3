import { AirliftError, isAirliftError } from '../errors.js';
import { isObject, type Descriptor } from '../oci/descriptor.js';
import { digestOf, type Digest } from '../oci/digest.js';
import { parseJsonObject, parseManifest } from '../oci/manifest.js';
import { isIndex, ociIndex } from '../oci/media-types.js';
import type { Endpoint } from './endpoint.js';
import type { Manifests } from './manifests.js';
import { referrersTag } from './referrers.js';

export interface NewReferrer {
  readonly endpoint: Endpoint;
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
  readonly doing: string;
  readonly signal: AbortSignal | undefined;
}

/**
 * Keeps the list of referrers under the fallback tag, for registries that do not keep it themselves (distribution-spec,
 * "Pushing Manifests with Subject" and "Referrers Tag Schema").
 */
export class ReferrersFallback {
  readonly #queues = new Map<string, Promise<void>>();

  constructor(readonly manifests: Manifests) {}

  /** Adds a manifest to the list of what refers to `subject`. Additions to one list wait for each other. */
  async add(referrer: NewReferrer, subject: Digest): Promise<void> {
    const { endpoint } = referrer;
    const key = `${endpoint.origin}/${endpoint.repository}@${subject}`;
    const before = this.#queues.get(key) ?? Promise.resolve();
    const added = before.catch(() => undefined).then(() => this.#addNow(referrer, subject));
    this.#queues.set(key, added);
    try {
      await added;
    } finally {
      if (this.#queues.get(key) === added) this.#queues.delete(key);
    }
  }

  async #addNow(referrer: NewReferrer, subject: Digest): Promise<void> {
    const { endpoint, descriptor, bytes, signal } = referrer;
    const doing = `${referrer.doing}: list it among the referrers of ${subject}`;
    const call = { endpoint, name: referrersTag(subject), doing, signal };
    const index = await this.#read(call);
    const listed = index.manifests;
    if (listed.some((entry) => isObject(entry) && entry['digest'] === descriptor.digest)) return;
    const manifest = parseManifest(bytes, descriptor.mediaType, `manifest ${descriptor.digest}`);
    const artifactType =
      manifest.artifactType ?? (manifest.kind === 'manifest' ? manifest.config?.mediaType : undefined);
    const { mediaType, digest, size } = descriptor;
    listed.push({ mediaType, digest, size, annotations: manifest.annotations, artifactType });
    const content = Buffer.from(JSON.stringify(index));
    await this.manifests.put(
      call,
      { mediaType: ociIndex, digest: digestOf(content), size: content.byteLength },
      content,
    );
  }

  async #read(call: Parameters<Manifests['get']>[0]): Promise<{ manifests: unknown[] }> {
    try {
      const { bytes, descriptor } = await this.manifests.get(call);
      const json = parseJsonObject(bytes, `referrers under tag ${call.name}`);
      if (isIndex(descriptor.mediaType) && Array.isArray(json['manifests']))
        return { ...json, manifests: json['manifests'] };
      throw new AirliftError(
        'conflict',
        `${call.doing}: tag ${call.name} holds something else than a list of referrers`,
      );
    } catch (error) {
      if (!isAirliftError(error, 'not-found')) throw error;
    }
    const index = { schemaVersion: 2, mediaType: ociIndex, manifests: [] };
    return index;
  }
}
