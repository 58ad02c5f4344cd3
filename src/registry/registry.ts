import type { Readable } from 'node:stream';
import { AirliftError, isAirliftError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { isWithheld, verdictOf } from '../oci/guess.js';
import { inlineContent } from '../oci/inline.js';
import { maxManifestSize, parseManifest } from '../oci/manifest.js';
import { isForeignLayer, livesUnderManifests } from '../oci/media-types.js';
import { readVerified } from '../oci/read.js';
import { readableOf } from '../oci/readable.js';
import { formatReference, formatRepository, type Reference, type Repository } from '../oci/reference.js';
import type { FetchOptions, Source } from '../oci/source.js';
import type {
  ExistsOptions,
  OpenContent,
  Pushed,
  PushOptions,
  Target,
  TargetOptions,
} from '../oci/target.js';
import type { Outcome } from './api/accepted.js';
import { BoundedMap } from '../bounded-map.js';
import type { RetryPolicy } from './api/guesses.js';
import type { ManifestCall } from './api/manifests.js';
import { ServedContent } from './api/mirror-reader.js';
import { listReferrers } from './api/referrers.js';
import { listRepositories } from './api/repositories.js';
import { listTags } from './api/tags.js';
import { assemble, type RegistryParts } from './assemble.js';
import { addressOf, type Endpoint } from './config/endpoint.js';
import type { RegistryHooks, RegistryOptions } from './config/options.js';
import type { RateLimit } from './http/limits.js';
import { readBody } from './http/responses.js';
import type { WireResponse } from './http/wire.js';

export type { RegistryHooks, RegistryOptions, RequestTrace } from './config/options.js';

/** The most manifests to keep between `resolve` and `fetch`. */
const maxKept = 64;

/**
 * A Source and Target for all registries, by the OCI distribution-spec 1.1. One object serves every host and holds the connections and
 * tokens. Close it after use.
 */
export class Registry implements Source, Target {
  readonly #parts: RegistryParts;
  /** Manifests that `resolve` fetched, by repository and digest. The next `fetch` of each returns it and removes it. */
  readonly #resolved = new BoundedMap<string, Buffer>(maxKept);
  /** The endpoints that served each blob, and those that served wrong content. */
  readonly #served = new ServedContent();

  /** @throws AirliftError `usage` if an option is invalid */
  constructor(options: RegistryOptions = {}, hooks: RegistryHooks = {}) {
    this.#parts = assemble(options, hooks);
  }

  /** Whether requests that write to a registry use plain HTTP. For a registry marked as insecure this tests whether it supports TLS. */
  async usesPlainHttp(registry: string): Promise<boolean> {
    const { origin } = await this.#parts.endpoints.forWriting({ registry, repository: 'any' });
    return origin.startsWith('http:');
  }

  /**
   * Resolves a reference to a descriptor: by `HEAD`, which does not count against a pull quota, or by `GET` if the response to `HEAD` is
   * incomplete.
   * @throws AirliftError `not-found`, `unauthorized`, `denied`, `registry`, `rate-limited`, `network`, `tls`; `unsupported` for Docker
   *   schema 1
   */
  async resolve(reference: Reference, options: FetchOptions = {}): Promise<Descriptor> {
    const name = reference.digest ?? reference.tag;
    const action = `resolve ${formatReference(reference)}`;
    if (name === undefined)
      throw new AirliftError('usage', `${action}: the reference has neither tag nor digest`);
    const { reader, manifests, guesses, accepted } = this.#parts;
    const { signal, isGuess } = options;
    const request = async (endpoint: Endpoint, policy?: RetryPolicy): Promise<Descriptor> => {
      const call = { endpoint, name, action, signal, ...policy };
      const head = await manifests.head(call, isGuess === true);
      if (head !== undefined) return head;
      const { descriptor, bytes } = await manifests.get(call);
      // A guessed tag may hold anything.
      if (isGuess === true) parseManifest(bytes, descriptor.mediaType, `response to ${action}`);
      this.#resolved.set(keyOf(reference, descriptor.digest), bytes);
      return descriptor;
    };
    const attempt = (): Promise<Descriptor> =>
      reader.readFirst(
        reference,
        { lookup: reference.digest === undefined ? 'tag' : 'digest', isGuess },
        (endpoint) =>
          isGuess === true
            ? guesses.request(endpoint, addressOf(endpoint, `manifests/${name}`), (policy) =>
                request(endpoint, policy),
              )
            : request(endpoint),
      );
    const expected =
      reference.digest ??
      (isGuess === true ? undefined : accepted.digestOfTag(reference, reference.tag ?? ''));
    if (expected === undefined) return attempt();
    // A registry may still return the old digest of a tag that this run has just set.
    const isOld = ({ digest }: Descriptor): boolean => reference.digest === undefined && digest !== expected;
    return accepted.find(reference, expected, {
      action,
      signal,
      attempt,
      mayChange: ({ value, error }) => (value === undefined ? isMissing(error) : isOld(value)),
    });
  }

  /**
   * Fetches the content of a descriptor. A manifest is fetched whole and verified; a blob is streamed without verification, and its stream
   * fails with `network` if the connection breaks. A blob that the registry does not have is fetched from the `urls` of its descriptor.
   * @throws AirliftError as `resolve`; `unsupported` if the registry cannot resume a blob at `offset`; `size-mismatch` if the registry
   *   announces another length; `digest-mismatch` for a manifest that does not match its digest
   */
  async fetch(repository: Repository, descriptor: Descriptor, options: FetchOptions = {}): Promise<Readable> {
    const { offset = 0, signal } = options;
    const inline = inlineContent(descriptor);
    if (inline !== undefined) return readableOf(inline, offset);
    if (livesUnderManifests(descriptor))
      return readableOf(await this.#fetchManifest(repository, descriptor, signal), offset);
    const { reader, blobs, accepted } = this.#parts;
    const action = `fetch blob ${descriptor.digest} of ${formatRepository(repository)}`;
    const distrusted = this.#served.distrusted(descriptor.digest);
    const attempt = (): Promise<Readable> =>
      reader.readFirst(repository, { lookup: 'digest', distrusted }, async (endpoint) => {
        const content = await blobs.fetch({ endpoint, descriptor, action, signal }, offset);
        this.#served.recordServer(repository, descriptor.digest, endpoint.origin);
        return content;
      });
    try {
      const mayChange = ({ error }: Outcome<Readable>): boolean => isMissing(error);
      return await accepted.find(repository, descriptor.digest, { action, signal, attempt, mayChange });
    } catch (error) {
      const mayBeElsewhere = isForeignLayer(descriptor.mediaType) || descriptor.urls !== undefined;
      if (!mayBeElsewhere || !isAirliftError(error, 'not-found')) throw error;
      return blobs.fetchForeign({ registry: repository.registry, descriptor, action, signal }, offset);
    }
  }

  /**
   * Fetches a file by its address instead of a blob by its digest, from `offset` on: redirects, proxies, retries and TLS as for blobs. No
   * authorization is sent, and the content is not verified.
   * @throws AirliftError as `fetch`
   */
  fetchFile(url: URL, size: number, { offset = 0, signal }: FetchOptions = {}): Promise<Readable> {
    const file = { url, size, signal, registry: url.host, thing: 'file' } as const;
    return this.#parts.blobs.fetchFile(file, offset);
  }

  /**
   * Reports that the content returned by the last `fetch` was wrong or broke off.
   * @returns whether the next `fetch` uses another endpoint, which is the case if a mirror was at fault
   */
  async distrust(repository: Repository, descriptor: Descriptor): Promise<boolean> {
    const endpoints = await this.#parts.endpoints.forReading(repository, 'digest');
    return this.#served.distrust(repository, descriptor.digest, endpoints);
  }

  /**
   * Lists the referrers of a digest. Errors that mean "does not exist" (`verdictOf`) lead to an empty list.
   * @throws AirliftError if it remains unknown whether there are referrers: the host is down, or fails after all retries
   */
  async *referrers(
    repository: Repository,
    digest: Digest,
    options: FetchOptions = {},
  ): AsyncGenerator<Descriptor> {
    const action = `list referrers of ${formatRepository(repository)}@${digest}`;
    yield* this.#list(repository, true, (endpoint) =>
      listReferrers(this.#parts, { endpoint, digest, action, signal: options.signal }),
    );
  }

  /**
   * Lists the tags of a repository, in the registry's order.
   * @throws AirliftError `not-found` if the repository does not exist
   */
  async *tags(repository: Repository, options: TargetOptions = {}): AsyncGenerator<string> {
    const action = `list tags of ${formatRepository(repository)}`;
    yield* this.#list(repository, false, (endpoint) =>
      listTags(this.#parts.client, endpoint, action, options.signal),
    );
  }

  /**
   * Lists the repositories of a registry, in the registry's order.
   * @throws AirliftError `not-found`, `unauthorized`, `denied`, `registry` if the registry does not provide the list
   */
  async *repositories(registry: string, { signal }: TargetOptions = {}): AsyncGenerator<string> {
    const { client, endpoints } = this.#parts;
    yield* listRepositories(client, await endpoints.forWriting({ registry, repository: 'any' }), signal);
  }

  /**
   * Whether the repository has the content with its full size. Content that the registry withholds (412, 451) exists; for a guess it does
   * not, so that it is pushed again.
   */
  async exists(
    repository: Repository,
    descriptor: Descriptor,
    options: ExistsOptions = {},
  ): Promise<boolean> {
    const { endpoints, manifests, blobs, accepted } = this.#parts;
    const { signal, isGuess = false } = options;
    const endpoint = await endpoints.forWriting(repository);
    const action = `look for ${descriptor.digest} in ${formatRepository(repository)}`;
    const call = { endpoint, descriptor, action, signal };
    const attempt = async (): Promise<boolean> => {
      try {
        return await (livesUnderManifests(descriptor) ? manifests.exists(call) : blobs.exists(call));
      } catch (error) {
        if (isGuess && verdictOf(error) === 'absent') return false;
        if (!isGuess && isAirliftError(error) && isWithheld(error.status)) return true;
        throw error;
      }
    };
    const mayChange = ({ value }: Outcome<boolean>): boolean => value === false;
    const exists = await accepted.find(repository, descriptor.digest, { action, signal, attempt, mayChange });
    if (exists) accepted.record(repository, descriptor.digest, 'seen');
    return exists;
  }

  /**
   * Pushes a blob, or a manifest under its digest. The content is verified while it is sent; wrong content is never completed. A manifest
   * with a subject is added to the list under the fallback tag if the registry does not maintain lists of referrers itself.
   * @throws AirliftError `digest-mismatch` or `size-mismatch` if the content is wrong; `unauthorized`, `denied`, `registry`,
   *   `rate-limited`, `network`, `tls`; the error of `open`
   */
  async push(
    repository: Repository,
    descriptor: Descriptor,
    open: OpenContent,
    options: PushOptions = {},
  ): Promise<Pushed> {
    const { mountFrom, signal } = options;
    const endpoint = await this.#parts.endpoints.forWriting(repository);
    const action = `push to ${formatRepository(repository)}`;
    if (livesUnderManifests(descriptor)) {
      await this.#pushManifest(repository, { endpoint, descriptor, open, action, signal });
      return 'uploaded';
    }
    const isSameHost = mountFrom !== undefined && mountFrom.registry === repository.registry;
    const pushed = await this.#parts.uploads.push({
      endpoint,
      descriptor,
      open,
      mountFrom: isSameHost ? mountFrom.repository : undefined,
      action: `${action}: blob ${descriptor.digest}`,
      signal,
    });
    this.#parts.accepted.record(repository, descriptor.digest, pushed === 'mounted' ? 'mounted' : 'pushed');
    return pushed;
  }

  /**
   * Sets the tag of a reference to a manifest.
   * @throws AirliftError as `push`
   */
  async tag(
    reference: Reference,
    descriptor: Descriptor,
    open: OpenContent,
    { signal }: TargetOptions = {},
  ): Promise<void> {
    const action = `tag ${formatReference(reference)}`;
    const { tag } = reference;
    if (tag === undefined) throw new AirliftError('usage', `${action}: the reference has no tag`);
    const bytes = await readManifest(descriptor, open, action);
    const endpoint = await this.#parts.endpoints.forWriting(reference);
    await this.#put(reference, { endpoint, name: tag, action, signal }, descriptor, bytes);
    this.#parts.accepted.recordTag(reference, tag, descriptor.digest);
  }

  /**
   * Puts a manifest. If the registry reports a missing part (`MANIFEST_BLOB_UNKNOWN`) although it has accepted all of them, the request is
   * retried for the settle time.
   */
  #put(
    repository: Repository,
    call: ManifestCall,
    descriptor: Descriptor,
    bytes: Buffer,
  ): Promise<WireResponse['headers']> {
    const { manifests, accepted } = this.#parts;
    const isTooEarly = (error: unknown): boolean =>
      isAirliftError(error) &&
      (error.status === 404 || missingPartCodes.has(error.reason ?? '')) &&
      accepted.holds(repository, ...partsOf(bytes, descriptor));
    return accepted.retry(repository, {
      ...call,
      attempt: () => manifests.put(call, descriptor, bytes),
      mayChange: ({ error }) => error !== undefined && isTooEarly(error),
    });
  }

  /**
   * Checks that a registry accepts the credentials (distribution-spec, "Determining Support").
   * @param registry `host[:port]`, followed by a namespace if the credentials are for a part of the registry
   * @throws AirliftError `unauthorized` if the credentials are wrong or missing
   */
  async checkLogin(registry: string, options: TargetOptions = {}): Promise<void> {
    const [host = '', ...namespace] = registry.split('/');
    const { endpoints, client } = this.#parts;
    const endpoint = await endpoints.forWriting({ registry: host, repository: namespace.join('/') });
    const url = new URL(`${endpoint.origin}/v2/`);
    const action = `log in to ${registry}`;
    const call = { endpoint, method: 'GET' as const, url, scopes: new Map(), action, signal: options.signal };
    const response = await client.send(call);
    if (response.status !== 200) throw await client.errorFor(response, call, 'distribution API');
    await readBody(response.body, maxManifestSize, action);
  }

  /** Returns the last reported pull quota of a registry; undefined if it has none. */
  async rateLimit(repository: Repository): Promise<RateLimit | undefined> {
    const { endpoints, exchange } = this.#parts;
    return exchange.rateLimits.of((await endpoints.forWriting(repository)).origin);
  }

  /** Closes all connections. Requests in flight fail. */
  async close(): Promise<void> {
    await this.#parts.wire.close();
  }

  async *#list<T>(
    repository: Repository,
    isGuess: boolean,
    items: (endpoint: Endpoint) => AsyncGenerator<T>,
  ): AsyncGenerator<T> {
    const read = { lookup: 'list', isGuess } as const;
    const { first, rest } = await this.#parts.reader.readFirst(repository, read, async (endpoint) => {
      const rest = items(endpoint);
      return { first: await rest.next(), rest };
    });
    if (first.done === true) return;
    yield first.value;
    yield* rest;
  }

  async #pushManifest(
    repository: Repository,
    call: {
      endpoint: Endpoint;
      descriptor: Descriptor;
      open: OpenContent;
      action: string;
      signal: AbortSignal | undefined;
    },
  ): Promise<void> {
    const { endpoint, descriptor, open, signal } = call;
    const { fallback, accepted } = this.#parts;
    const bytes = await readManifest(descriptor, open, call.action);
    const action = `${call.action}: manifest ${descriptor.digest}`;
    const manifestCall = { endpoint, name: descriptor.digest, action, signal };
    const headers = await this.#put(repository, manifestCall, descriptor, bytes);
    accepted.record(repository, descriptor.digest, 'pushed');
    const { subject } = parseManifest(bytes, descriptor.mediaType, `manifest ${descriptor.digest}`);
    if (subject === undefined) return;
    const referrer = { endpoint, descriptor, bytes, action, signal };
    const isClaimed = headers['oci-subject'] !== undefined;
    if (!isClaimed || !(await fallback.maintainsList(referrer, subject.digest)))
      await fallback.add(referrer, subject.digest);
  }

  async #fetchManifest(
    repository: Repository,
    descriptor: Descriptor,
    signal: AbortSignal | undefined,
  ): Promise<Buffer> {
    const { reader, manifests, accepted } = this.#parts;
    const { digest, size } = descriptor;
    const action = `fetch manifest ${formatRepository(repository)}@${digest}`;
    const attempt = (): Promise<Buffer> =>
      reader.readFirst(repository, { lookup: 'digest' }, async (endpoint) => {
        // The caller parses the manifest: its media type is not needed here.
        const { bytes } = await manifests.getContent({ endpoint, name: digest, action, signal });
        return bytes;
      });
    const mayChange = ({ error }: Outcome<Buffer>): boolean => isMissing(error);
    const bytes =
      this.#resolved.remove(keyOf(repository, digest)) ??
      (await accepted.find(repository, digest, { action, signal, attempt, mayChange }));
    if (bytes.byteLength === size) return bytes;
    throw new AirliftError(
      'size-mismatch',
      `${action}: wrong size; got ${bytes.byteLength} bytes, want ${size}`,
    );
  }
}

/** Error codes of a registry that misses a part of a manifest (distribution-spec, "Error Codes"). */
const missingPartCodes: ReadonlySet<string> = new Set([
  'MANIFEST_BLOB_UNKNOWN',
  'BLOB_UNKNOWN',
  'MANIFEST_UNKNOWN',
]);

/** Returns the digests that a repository must have before it accepts a manifest. */
function partsOf(bytes: Buffer, { mediaType, digest }: Descriptor): Digest[] {
  const manifest = parseManifest(bytes, mediaType, `manifest ${digest}`);
  if (manifest.kind === 'index') return manifest.manifests.map((child) => child.digest);
  const layers = manifest.layers.filter((layer) => !isForeignLayer(layer.mediaType));
  return [...(manifest.config === undefined ? [] : [manifest.config]), ...layers].map((part) => part.digest);
}

function keyOf(repository: Repository, digest: Digest): string {
  return `${formatRepository(repository)}@${digest}`;
}

function isMissing(error: unknown): boolean {
  return isAirliftError(error, 'not-found');
}

async function readManifest(descriptor: Descriptor, open: OpenContent, action: string): Promise<Buffer> {
  if (descriptor.size > maxManifestSize)
    throw new AirliftError(
      'registry',
      `${action}: manifest is too large; got ${descriptor.size} bytes, want at most ${maxManifestSize}`,
    );
  return readVerified(await open(0), descriptor);
}
