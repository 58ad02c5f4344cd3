import { AirliftError, isAirliftError } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { digestOf, type Digest } from '../../oci/digest.js';
import { isWithheld, verdictOf } from '../../oci/guess.js';
import { parseManifest } from '../../oci/manifest.js';
import { ociIndex } from '../../oci/media-types.js';
import { formatRepository } from '../../oci/reference.js';
import { addressOf, type Endpoint } from '../config/endpoint.js';
import type { Manifests } from './manifests.js';
import { hasReferrersApi, parseReferrers, referrersTag, type ReferrersParts } from './referrers.js';

/** Whether an error means that a tag exists, but holds something else than a list. */
function isOtherContent(error: unknown): boolean {
  if (!(error instanceof AirliftError)) return false;
  return (error.code === 'registry' && error.status === undefined) || isAirliftError(error.cause, 'input');
}

export interface NewReferrer {
  readonly endpoint: Endpoint;
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
  readonly action: string;
  readonly signal: AbortSignal | undefined;
}

/** A list to extend: its JSON, and the digests of its entries. */
interface ExtensibleList {
  readonly json: Record<string, unknown>;
  readonly digests: readonly Digest[];
}

/**
 * Maintains the list of referrers under the fallback tag, for registries that do not maintain it themselves (distribution-spec, "Pushing
 * Manifests with Subject" and "Referrers Tag Schema").
 */
export class ReferrersFallback {
  readonly #queues = new Map<string, Promise<void>>();
  readonly #warned = new Set<string>();
  /** Whether a host that claims to maintain lists has the API, by origin. */
  readonly #hasApi = new Map<string, Promise<boolean>>();

  constructor(
    readonly parts: ReferrersParts,
    readonly warn: (text: string) => void,
  ) {}

  /**
   * Whether a registry that claims to maintain the list (`OCI-Subject`) does so: ECR claims it without having the API. Checked once per
   * origin; if the check fails, the claim is believed.
   */
  maintainsList({ endpoint, action, signal }: NewReferrer, subject: Digest): Promise<boolean> {
    let hasApi = this.#hasApi.get(endpoint.origin);
    if (hasApi === undefined) {
      hasApi = hasReferrersApi(this.parts, { endpoint, digest: subject, action, signal }).catch(
        (error: unknown) => {
          if (verdictOf(error) === 'fatal') throw error;
          return true;
        },
      );
      hasApi.catch(() => this.#hasApi.delete(endpoint.origin));
      this.#hasApi.set(endpoint.origin, hasApi);
    }
    return hasApi;
  }

  /**
   * Adds a manifest to the list of referrers of `subject`. Additions to the same list run one after another. If the tag holds something
   * else, or the registry rejects the list, a warning is given; the manifest itself stays pushed by its digest.
   * @throws AirliftError if the registry fails
   */
  async add(referrer: NewReferrer, subject: Digest): Promise<void> {
    const { endpoint } = referrer;
    const key = `${endpoint.origin}/${endpoint.repository}@${subject}`;
    const previous = this.#queues.get(key) ?? Promise.resolve();
    const added = previous.catch(() => undefined).then(() => this.#addNow(referrer, subject));
    this.#queues.set(key, added);
    try {
      await added;
    } finally {
      if (this.#queues.get(key) === added) this.#queues.delete(key);
    }
  }

  async #addNow(referrer: NewReferrer, subject: Digest): Promise<void> {
    const { endpoint, descriptor, bytes, signal } = referrer;
    const action = `${referrer.action}: add it to the referrers of ${subject}`;
    const call = { endpoint, name: referrersTag(subject), action, signal };
    const list = await this.#read(call, subject);
    if (list === undefined) {
      this.#warnUnlisted(referrer, subject, `the tag ${call.name} is not a list of referrers`);
      return;
    }
    if (list.digests.includes(descriptor.digest)) return;
    const manifest = parseManifest(bytes, descriptor.mediaType, `manifest ${descriptor.digest}`);
    const artifactType =
      manifest.artifactType ?? (manifest.kind === 'manifest' ? manifest.config?.mediaType : undefined);
    const { mediaType, digest, size } = descriptor;
    const entry = { mediaType, digest, size, annotations: manifest.annotations, artifactType };
    const listed = Array.isArray(list.json['manifests']) ? (list.json['manifests'] as unknown[]) : [];
    const content = Buffer.from(JSON.stringify({ ...list.json, manifests: [...listed, entry] }));
    const index = { mediaType: ociIndex, digest: digestOf(content), size: content.byteLength };
    try {
      await this.parts.manifests.put(call, index, content);
    } catch (error) {
      if (verdictOf(error) !== 'absent' || !(error instanceof AirliftError)) throw error;
      const status = error.status === undefined ? '' : ` (${error.status})`;
      this.#warnUnlisted(referrer, subject, `the registry rejects the list of referrers${status}`);
    }
  }

  /** Reads the list to extend, or starts an empty one; returns undefined if the tag holds something else. */
  async #read(call: Parameters<Manifests['get']>[0], subject: Digest): Promise<ExtensibleList | undefined> {
    const { endpoint, name } = call;
    try {
      const { guesses, manifests } = this.parts;
      const { bytes } = await guesses.request(endpoint, addressOf(endpoint, `manifests/${name}`), () =>
        manifests.get(call),
      );
      const list = parseReferrers(bytes, subject);
      // A list with malformed entries stays unchanged: the registry may reject it, and airlift does not repair it.
      if (list === undefined || list.skipped.length > 0) return undefined;
      return { json: list.json, digests: list.entries.map(({ digest }) => digest) };
    } catch (error) {
      // Content that does not match its digest is not a list either.
      if (isAirliftError(error, 'unsupported', 'digest-mismatch') || isOtherContent(error)) return undefined;
      if (!isAirliftError(error, 'not-found')) throw error;
      // A new list would replace the one that the registry withholds.
      if (isWithheld(error.status)) return undefined;
    }
    return { json: { schemaVersion: 2, mediaType: ociIndex, manifests: [] }, digests: [] };
  }

  #warnUnlisted({ endpoint, descriptor }: NewReferrer, subject: Digest, reason: string): void {
    const key = `${endpoint.origin}/${endpoint.repository}@${subject}`;
    if (this.#warned.has(key)) return;
    this.#warned.add(key);
    this.warn(
      `${formatRepository(endpoint)}: ${reason}: ${descriptor.digest} is pushed by digest, but tools that list ` +
        `the referrers of ${subject} do not find it`,
    );
  }
}
