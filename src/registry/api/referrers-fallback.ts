import { AirliftError, isAirliftError } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { digestOf, type Digest } from '../../oci/digest.js';
import { isWithheld, verdictOf } from '../../oci/guess.js';
import { parseManifest } from '../../oci/manifest.js';
import { ociIndex } from '../../oci/media-types.js';
import { addressOf, type Endpoint } from '../config/endpoint.js';
import type { Manifests } from './manifests.js';
import { hasReferrersApi, parseReferrers, referrersTag, type ReferrersParts } from './referrers.js';

/** Whether a tag leads to content that is no list, as against no content. */
function isOtherContent(error: unknown): boolean {
  if (!(error instanceof AirliftError)) return false;
  return (error.code === 'registry' && error.status === undefined) || isAirliftError(error.cause, 'input');
}

export interface NewReferrer {
  readonly endpoint: Endpoint;
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
  readonly doing: string;
  readonly signal: AbortSignal | undefined;
}

/** A list to add to: as it came, with the digests of its entries. */
interface OpenList {
  readonly json: Record<string, unknown>;
  readonly digests: readonly Digest[];
}

/**
 * Keeps the list of referrers under the fallback tag, for registries that do not keep it themselves (distribution-spec,
 * "Pushing Manifests with Subject" and "Referrers Tag Schema").
 */
export class ReferrersFallback {
  readonly #queues = new Map<string, Promise<void>>();
  readonly #warned = new Set<string>();
  /** Whether a host that claims to keep lists has them, by origin. */
  readonly #keepers = new Map<string, Promise<boolean>>();

  constructor(
    readonly parts: ReferrersParts,
    readonly warn: (text: string) => void,
  ) {}

  /**
   * Whether a registry that claims to keep the list (`OCI-Subject`) does so. ECR claims it without having the API. It is asked
   * once; where nobody knows, it is believed.
   */
  keepsLists({ endpoint, doing, signal }: NewReferrer, subject: Digest): Promise<boolean> {
    let keeps = this.#keepers.get(endpoint.origin);
    if (keeps === undefined) {
      keeps = hasReferrersApi(this.parts, { endpoint, digest: subject, doing, signal }).catch(
        (error: unknown) => {
          if (verdictOf(error) === 'fatal') throw error;
          return true;
        },
      );
      keeps.catch(() => this.#keepers.delete(endpoint.origin));
      this.#keepers.set(endpoint.origin, keeps);
    }
    return keeps;
  }

  /**
   * Adds a manifest to the list of what refers to `subject`. Additions to one list wait for each other. Where the tag holds
   * something else, or the registry refuses the list, the manifest stays as it was pushed, by its digest, and a warning says so.
   * @throws AirliftError where the registry fails
   */
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
    const list = await this.#read(call, subject);
    if (list === undefined) {
      this.#leave(referrer, subject, `the tag ${call.name} holds something else than a list of referrers`);
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
      this.#leave(referrer, subject, `the registry refuses the list of referrers (${error.status ?? 'no'})`);
    }
  }

  /** The list to add to, a new one where there is none; undefined where the tag is taken by something else. */
  async #read(call: Parameters<Manifests['get']>[0], subject: Digest): Promise<OpenList | undefined> {
    const { endpoint, name } = call;
    try {
      const { guesses, manifests } = this.parts;
      const { bytes } = await guesses.ask(endpoint, addressOf(endpoint, `manifests/${name}`), () =>
        manifests.get(call),
      );
      const list = parseReferrers(bytes, subject);
      // A registry may refuse a list with malformed entries, and airlift repairs none: the list stays as it is.
      if (list === undefined || list.skipped.length > 0) return undefined;
      return { json: list.json, digests: list.entries.map(({ digest }) => digest) };
    } catch (error) {
      // Content that is not what it claims to be is no list either.
      if (isAirliftError(error, 'unsupported', 'digest-mismatch') || isOtherContent(error)) return undefined;
      if (!isAirliftError(error, 'not-found')) throw error;
      // A list that is withheld would be lost.
      if (isWithheld(error.status)) return undefined;
    }
    return { json: { schemaVersion: 2, mediaType: ociIndex, manifests: [] }, digests: [] };
  }

  #leave({ endpoint, descriptor }: NewReferrer, subject: Digest, why: string): void {
    const key = `${endpoint.origin}/${endpoint.repository}@${subject}`;
    if (this.#warned.has(key)) return;
    this.#warned.add(key);
    this.warn(
      `${endpoint.registry}/${endpoint.repository}: ${why}: ${descriptor.digest} is pushed by digest, and tools that list ` +
        `referrers do not find it at ${subject}`,
    );
  }
}
