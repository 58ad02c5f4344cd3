import type { Readable } from 'node:stream';
import { AirliftError, isAirliftError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import { verifyStream, type Digest } from '../oci/digest.js';
import { inlineContent } from '../oci/inline.js';
import { maxManifestSize, parseManifest } from '../oci/manifest.js';
import { isForeignLayer, livesUnderManifests } from '../oci/media-types.js';
import { readableOf } from '../oci/readable.js';
import { formatReference, formatRepository, type Reference, type Repository } from '../oci/reference.js';
import type { FetchOptions, Source } from '../oci/source.js';
import type { OpenContent, Pushed, PushOptions, Target } from '../oci/target.js';
import { readBody } from './answers.js';
import { ManifestCache } from './manifest-cache.js';
import type { RegistryHooks, RegistryOptions } from './options.js';
import type { RateLimit } from './rate-limit.js';
import { assemble, type RegistryParts } from './assemble.js';
import { listReferrers } from './referrers.js';
import { listTags } from './tags.js';

export type {
  ExplicitCredentials,
  HostSettings,
  Mirror,
  MirrorRule,
  ProxyOptions,
  RateBudget,
  RegistryHooks,
  RegistryOptions,
  TlsOptions,
} from './options.js';
export type { RateLimit } from './rate-limit.js';
export type { RequestTrace } from './trace.js';

interface Signalled {
  readonly signal?: AbortSignal | undefined;
}

/**
 * All registries, as Source and Target, by the OCI distribution-spec 1.1. One object serves every host; it holds their
 * connections and tokens. Close it when done.
 */
export class Registry implements Source, Target {
  readonly #parts: RegistryParts;
  /** Manifests that came while resolving and will be asked for next. */
  readonly #kept = new ManifestCache();

  /** @throws AirliftError `usage` where an option can't be read */
  constructor(options: RegistryOptions = {}, hooks: RegistryHooks = {}) {
    this.#parts = assemble(options, hooks);
  }

  /**
   * What a reference points at: by `HEAD`, which registries do not count, or by `GET` where that does not tell.
   * @throws AirliftError `not-found`, `unauthorized`, `denied`, `registry`, `rate-limited`, `network`, `tls`;
   *   `unsupported` for Docker schema 1
   */
  async resolve(reference: Reference, options: FetchOptions = {}): Promise<Descriptor> {
    const name = reference.digest ?? reference.tag;
    const doing = `resolve ${formatReference(reference)}`;
    if (name === undefined)
      throw new AirliftError('usage', `${doing}: the reference has neither tag nor digest`);
    const { reading, manifests } = this.#parts;
    return reading.first(reference, reference.digest === undefined ? 'tag' : 'digest', async (endpoint) => {
      const call = { endpoint, name, doing, signal: options.signal };
      const told = await manifests.head(call, options.isGuess === true);
      if (told !== undefined) return told;
      const { descriptor, bytes } = await manifests.get(call);
      this.#kept.put(reference, descriptor.digest, bytes);
      return descriptor;
    });
  }

  /**
   * The content of a descriptor: manifests whole and checked, blobs as they come. A blob's stream that breaks fails with
   * `network`. What the registry does not hold is looked for under the `urls` of its descriptor, where it has some.
   * @throws AirliftError as `resolve`; `unsupported` where a blob can't be had from `offset` on; `size-mismatch` where the
   *   registry announces another length; `digest-mismatch` for a manifest that is not what its digest says
   */
  async fetch(repository: Repository, descriptor: Descriptor, options: FetchOptions = {}): Promise<Readable> {
    const { offset = 0, signal } = options;
    const inline = inlineContent(descriptor);
    if (inline !== undefined) return readableOf(inline, offset);
    if (livesUnderManifests(descriptor))
      return readableOf(await this.#manifest(repository, descriptor, signal), offset);
    const { reading, blobs } = this.#parts;
    const doing = `fetch blob ${descriptor.digest} of ${formatRepository(repository)}`;
    try {
      return await reading.first(repository, 'digest', (endpoint) =>
        blobs.fetch({ endpoint, descriptor, doing, signal }, offset),
      );
    } catch (error) {
      const mayBeElsewhere = isForeignLayer(descriptor.mediaType) || descriptor.urls !== undefined;
      if (!mayBeElsewhere || !isAirliftError(error, 'not-found')) throw error;
      return blobs.fetchForeign({ registry: repository.registry, descriptor, doing, signal }, offset);
    }
  }

  /** What refers to a digest. The list is empty where nothing does. */
  async *referrers(
    repository: Repository,
    digest: Digest,
    options: FetchOptions = {},
  ): AsyncGenerator<Descriptor> {
    const { client, manifests } = this.#parts;
    const doing = `list referrers of ${formatRepository(repository)}@${digest}`;
    yield* this.#list(repository, (endpoint) =>
      listReferrers(client, manifests, { endpoint, digest, doing, signal: options.signal }),
    );
  }

  /**
   * The tags of a repository, in the registry's order.
   * @throws AirliftError `not-found` where there is no such repository
   */
  async *tags(repository: Repository, options: Signalled = {}): AsyncGenerator<string> {
    const doing = `list tags of ${formatRepository(repository)}`;
    yield* this.#list(repository, (endpoint) =>
      listTags(this.#parts.client, endpoint, doing, options.signal),
    );
  }

  /** Whether the repository holds the content, in full. */
  async exists(repository: Repository, descriptor: Descriptor): Promise<boolean> {
    const { book, manifests, blobs } = this.#parts;
    const endpoint = await book.forWriting(repository);
    const doing = `look for ${descriptor.digest} in ${formatRepository(repository)}`;
    return livesUnderManifests(descriptor)
      ? manifests.exists(endpoint, descriptor, doing)
      : blobs.exists({ endpoint, descriptor, doing });
  }

  /**
   * Puts a blob, or a manifest under its digest, there. The content is verified on its way; wrong content never completes. A
   * manifest with a subject is listed under the fallback tag where the registry does not list referrers itself.
   * @throws AirliftError `digest-mismatch` or `size-mismatch` where the content is wrong; `unauthorized`, `denied`, `registry`,
   *   `rate-limited`, `network`, `tls`; what `open` throws
   */
  async push(
    repository: Repository,
    descriptor: Descriptor,
    open: OpenContent,
    options: PushOptions = {},
  ): Promise<Pushed> {
    const { mountFrom, signal } = options;
    const endpoint = await this.#parts.book.forWriting(repository);
    const doing = `push to ${formatRepository(repository)}`;
    if (livesUnderManifests(descriptor)) {
      await this.#pushManifest({ endpoint, descriptor, open, doing, signal });
      return 'uploaded';
    }
    const isSameHost = mountFrom !== undefined && mountFrom.registry === repository.registry;
    return this.#parts.uploads.push({
      endpoint,
      descriptor,
      open,
      mountFrom: isSameHost ? mountFrom.repository : undefined,
      doing: `${doing}: blob ${descriptor.digest}`,
      signal,
    });
  }

  /**
   * Lets the reference's tag point at a manifest.
   * @throws AirliftError as `push`
   */
  async tag(reference: Reference, descriptor: Descriptor, open: OpenContent): Promise<void> {
    const doing = `tag ${formatReference(reference)}`;
    const { tag } = reference;
    if (tag === undefined) throw new AirliftError('usage', `${doing}: the reference has no tag`);
    const { book, manifests } = this.#parts;
    const bytes = await readManifest(descriptor, open, doing);
    await manifests.put({ endpoint: await book.forWriting(reference), name: tag, doing }, descriptor, bytes);
  }

  /**
   * Checks that the registry lets one in (distribution-spec, "Determining Support").
   * @param registry `host[:port]`, with a namespace where credentials are for a part of it only
   * @throws AirliftError `unauthorized` where the credentials are wrong or missing
   */
  async checkLogin(registry: string, options: Signalled = {}): Promise<void> {
    const [host = '', ...namespace] = registry.split('/');
    const { book, client } = this.#parts;
    const endpoint = await book.forWriting({ registry: host, repository: namespace.join('/') });
    const url = new URL(`${endpoint.origin}/v2/`);
    const doing = `log in to ${registry}`;
    const call = { endpoint, method: 'GET' as const, url, scopes: new Map(), doing, signal: options.signal };
    const answer = await client.send(call);
    if (answer.status !== 200) throw await client.refusal(answer, call, 'distribution API');
    await readBody(answer.body, maxManifestSize, doing);
  }

  /** What a registry said last of the manifest downloads that it still allows, where it counts them. */
  async rateLimit(repository: Repository): Promise<RateLimit | undefined> {
    const { book, exchange } = this.#parts;
    return exchange.rateLimits.of((await book.forWriting(repository)).origin);
  }

  /** Ends all connections. What is under way fails. */
  async close(): Promise<void> {
    await this.#parts.wire.close();
  }

  async *#list<T>(
    repository: Repository,
    items: (endpoint: Parameters<typeof listTags>[1]) => AsyncGenerator<T>,
  ): AsyncGenerator<T> {
    const { first, rest } = await this.#parts.reading.first(repository, 'list', async (endpoint) => {
      const rest = items(endpoint);
      return { first: await rest.next(), rest };
    });
    if (first.done === true) return;
    yield first.value;
    yield* rest;
  }

  async #pushManifest(call: {
    endpoint: Parameters<typeof listTags>[1];
    descriptor: Descriptor;
    open: OpenContent;
    doing: string;
    signal: AbortSignal | undefined;
  }): Promise<void> {
    const { endpoint, descriptor, open, signal } = call;
    const { manifests, fallback } = this.#parts;
    const bytes = await readManifest(descriptor, open, call.doing);
    const doing = `${call.doing}: manifest ${descriptor.digest}`;
    const headers = await manifests.put(
      { endpoint, name: descriptor.digest, doing, signal },
      descriptor,
      bytes,
    );
    if (headers['oci-subject'] !== undefined) return;
    const { subject } = parseManifest(bytes, descriptor.mediaType, `manifest ${descriptor.digest}`);
    if (subject !== undefined)
      await fallback.add({ endpoint, descriptor, bytes, doing, signal }, subject.digest);
  }

  async #manifest(
    repository: Repository,
    descriptor: Descriptor,
    signal: AbortSignal | undefined,
  ): Promise<Buffer> {
    const { reading, manifests } = this.#parts;
    const { digest, size } = descriptor;
    const doing = `fetch manifest ${formatRepository(repository)}@${digest}`;
    const bytes =
      this.#kept.take(repository, digest) ??
      (await reading.first(repository, 'digest', async (endpoint) => {
        const fetched = await manifests.get({ endpoint, name: digest, doing, signal });
        return fetched.bytes;
      }));
    if (bytes.byteLength === size) return bytes;
    throw new AirliftError(
      'size-mismatch',
      `${doing}: wrong size; got ${bytes.byteLength} bytes, want ${size}`,
    );
  }
}

async function readManifest(descriptor: Descriptor, open: OpenContent, doing: string): Promise<Buffer> {
  const stream = await open(0);
  const checked = verifyStream(descriptor.digest, descriptor.size);
  stream.on('error', (error) => checked.destroy(error));
  return readBody(stream.pipe(checked), maxManifestSize, doing);
}
