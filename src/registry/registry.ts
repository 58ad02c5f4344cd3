import type { Readable } from 'node:stream';
import { AirliftError, isAirliftError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import { verifyStream, type Digest } from '../oci/digest.js';
import { inlineContent } from '../oci/inline.js';
import { isWithheld, verdictOf } from '../oci/guess.js';
import { maxManifestSize, parseManifest } from '../oci/manifest.js';
import { isForeignLayer, livesUnderManifests } from '../oci/media-types.js';
import { readableOf } from '../oci/readable.js';
import { formatReference, formatRepository, type Reference, type Repository } from '../oci/reference.js';
import type { FetchOptions, Source } from '../oci/source.js';
import type { ExistsOptions, OpenContent, Pushed, PushOptions, Target } from '../oci/target.js';
import { readBody } from './http/answers.js';
import type { Outcome } from './api/accepted.js';
import { addressOf, type Endpoint } from './config/endpoint.js';
import type { Patience } from './api/guesses.js';
import { ManifestCache } from './api/manifest-cache.js';
import type { ManifestCall } from './api/manifests.js';
import type { RegistryHooks, RegistryOptions } from './config/options.js';
import type { RateLimit } from './http/limits.js';
import { assemble, type RegistryParts } from './assemble.js';
import { listReferrers } from './api/referrers.js';
import { ServedContent } from './api/served-content.js';
import { listTags } from './api/tags.js';
import type { WireAnswer } from './http/wire.js';

export type {
  ExplicitCredentials,
  HostSettings,
  Mirror,
  MirrorRule,
  ProxyOptions,
  RateBudget,
  RegistryHooks,
  RegistryOptions,
  RequestTrace,
  TlsOptions,
} from './config/options.js';
export type { RateLimit } from './http/limits.js';

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
  /** Which endpoints served which blobs, and which of them served wrong content. */
  readonly #content = new ServedContent();

  /** @throws AirliftError `usage` where an option can't be read */
  constructor(options: RegistryOptions = {}, hooks: RegistryHooks = {}) {
    this.#parts = assemble(options, hooks);
  }

  /** Whether a registry is written to over plain HTTP; where certificates need not be valid, it is asked. */
  async usesPlainHttp(registry: string): Promise<boolean> {
    const { origin } = await this.#parts.book.forWriting({ registry, repository: 'any' });
    return origin.startsWith('http:');
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
    const { reading, manifests, guesses, accepted } = this.#parts;
    const { signal, isGuess } = options;
    const ask = async (endpoint: Endpoint, patience?: Patience): Promise<Descriptor> => {
      const call = { endpoint, name, doing, signal, ...patience };
      const told = await manifests.head(call, isGuess === true);
      if (told !== undefined) return told;
      const { descriptor, bytes } = await manifests.get(call);
      // A tag that nobody named may hold anything.
      if (isGuess === true) parseManifest(bytes, descriptor.mediaType, `answer to ${doing}`);
      this.#kept.put(reference, descriptor.digest, bytes);
      return descriptor;
    };
    const look = (): Promise<Descriptor> =>
      reading.first(
        reference,
        { wanted: reference.digest === undefined ? 'tag' : 'digest', isGuess },
        (endpoint) =>
          isGuess === true
            ? guesses.ask(endpoint, addressOf(endpoint, `manifests/${name}`), (patience) =>
                ask(endpoint, patience),
              )
            : ask(endpoint),
      );
    const wanted =
      reference.digest ?? (isGuess === true ? undefined : accepted.tagOf(reference, reference.tag ?? ''));
    if (wanted === undefined) return look();
    // A tag that was just set may lead to what it was before.
    const isOther = ({ digest }: Descriptor): boolean => reference.digest === undefined && digest !== wanted;
    return accepted.shown(reference, wanted, {
      doing,
      signal,
      look,
      mayPass: ({ value, error }) => (value === undefined ? isMissing(error) : isOther(value)),
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
    const { reading, blobs, accepted } = this.#parts;
    const doing = `fetch blob ${descriptor.digest} of ${formatRepository(repository)}`;
    const distrusted = this.#content.distrusted(descriptor.digest);
    const look = (): Promise<Readable> =>
      reading.first(repository, { wanted: 'digest', distrusted }, async (endpoint) => {
        const content = await blobs.fetch({ endpoint, descriptor, doing, signal }, offset);
        this.#content.served(repository, descriptor.digest, endpoint.origin);
        return content;
      });
    try {
      const mayPass = ({ error }: Outcome<Readable>): boolean => isMissing(error);
      return await accepted.shown(repository, descriptor.digest, { doing, signal, look, mayPass });
    } catch (error) {
      const mayBeElsewhere = isForeignLayer(descriptor.mediaType) || descriptor.urls !== undefined;
      if (!mayBeElsewhere || !isAirliftError(error, 'not-found')) throw error;
      return blobs.fetchForeign({ registry: repository.registry, descriptor, doing, signal }, offset);
    }
  }

  /**
   * Notes that the content which `fetch` gave last was wrong or broke off.
   * @returns whether another endpoint is asked from now on: a mirror was at fault
   */
  async distrust(repository: Repository, descriptor: Descriptor): Promise<boolean> {
    const endpoints = await this.#parts.reading.book.forReading(repository, 'digest');
    return this.#content.distrust(repository, descriptor.digest, endpoints);
  }

  /**
   * What refers to a digest. The list is empty where nothing does, and where the registry says so in one of the many ways that
   * count as "not there" (`verdictOf`).
   * @throws AirliftError where nobody knows: the host is gone, or fails after all retries
   */
  async *referrers(
    repository: Repository,
    digest: Digest,
    options: FetchOptions = {},
  ): AsyncGenerator<Descriptor> {
    const doing = `list referrers of ${formatRepository(repository)}@${digest}`;
    yield* this.#list(repository, true, (endpoint) =>
      listReferrers(this.#parts, { endpoint, digest, doing, signal: options.signal }),
    );
  }

  /**
   * The tags of a repository, in the registry's order.
   * @throws AirliftError `not-found` where there is no such repository
   */
  async *tags(repository: Repository, options: Signalled = {}): AsyncGenerator<string> {
    const doing = `list tags of ${formatRepository(repository)}`;
    yield* this.#list(repository, false, (endpoint) =>
      listTags(this.#parts.client, endpoint, doing, options.signal),
    );
  }

  /**
   * Whether the repository holds the content, in full. What it holds and withholds (412, 451) is there; but as a guess that is a
   * no, so that it is pushed again.
   */
  async exists(
    repository: Repository,
    descriptor: Descriptor,
    options: ExistsOptions = {},
  ): Promise<boolean> {
    const { book, manifests, blobs, accepted } = this.#parts;
    const { signal, isGuess = false } = options;
    const endpoint = await book.forWriting(repository);
    const doing = `look for ${descriptor.digest} in ${formatRepository(repository)}`;
    const call = { endpoint, descriptor, doing, signal };
    const look = async (): Promise<boolean> => {
      try {
        return await (livesUnderManifests(descriptor) ? manifests.exists(call) : blobs.exists(call));
      } catch (error) {
        if (isGuess && verdictOf(error) === 'absent') return false;
        if (!isGuess && isAirliftError(error) && isWithheld(error.status)) return true;
        throw error;
      }
    };
    const mayPass = ({ value }: Outcome<boolean>): boolean => value === false;
    const isThere = await accepted.shown(repository, descriptor.digest, { doing, signal, look, mayPass });
    if (isThere) accepted.note(repository, descriptor.digest, 'seen');
    return isThere;
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
      await this.#pushManifest(repository, { endpoint, descriptor, open, doing, signal });
      return 'uploaded';
    }
    const isSameHost = mountFrom !== undefined && mountFrom.registry === repository.registry;
    const pushed = await this.#parts.uploads.push({
      endpoint,
      descriptor,
      open,
      mountFrom: isSameHost ? mountFrom.repository : undefined,
      doing: `${doing}: blob ${descriptor.digest}`,
      signal,
    });
    this.#parts.accepted.note(repository, descriptor.digest, pushed === 'mounted' ? 'mounted' : 'pushed');
    return pushed;
  }

  /**
   * Lets the reference's tag point at a manifest.
   * @throws AirliftError as `push`
   */
  async tag(
    reference: Reference,
    descriptor: Descriptor,
    open: OpenContent,
    { signal }: Signalled = {},
  ): Promise<void> {
    const doing = `tag ${formatReference(reference)}`;
    const { tag } = reference;
    if (tag === undefined) throw new AirliftError('usage', `${doing}: the reference has no tag`);
    const bytes = await readManifest(descriptor, open, doing);
    const endpoint = await this.#parts.book.forWriting(reference);
    await this.#put(reference, { endpoint, name: tag, doing, signal }, descriptor, bytes);
    this.#parts.accepted.noteTag(reference, tag, descriptor.digest);
  }

  /**
   * Puts a manifest. Where the registry says that it lacks a part of it (`MANIFEST_BLOB_UNKNOWN`) although it accepted every one, it
   * gets a moment to see them.
   */
  #put(
    repository: Repository,
    call: ManifestCall,
    descriptor: Descriptor,
    bytes: Buffer,
  ): Promise<WireAnswer['headers']> {
    const { manifests, accepted } = this.#parts;
    const isEarly = (error: unknown): boolean =>
      isAirliftError(error) &&
      (error.status === 404 || missingParts.has(error.reason ?? '')) &&
      accepted.holds(repository, ...partsOf(bytes, descriptor));
    return accepted.settle(repository, {
      ...call,
      look: () => manifests.put(call, descriptor, bytes),
      mayPass: ({ error }) => error !== undefined && isEarly(error),
    });
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
    isGuess: boolean,
    items: (endpoint: Endpoint) => AsyncGenerator<T>,
  ): AsyncGenerator<T> {
    const read = { wanted: 'list', isGuess } as const;
    const { first, rest } = await this.#parts.reading.first(repository, read, async (endpoint) => {
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
      doing: string;
      signal: AbortSignal | undefined;
    },
  ): Promise<void> {
    const { endpoint, descriptor, open, signal } = call;
    const { fallback, accepted } = this.#parts;
    const bytes = await readManifest(descriptor, open, call.doing);
    const doing = `${call.doing}: manifest ${descriptor.digest}`;
    const manifestCall = { endpoint, name: descriptor.digest, doing, signal };
    const headers = await this.#put(repository, manifestCall, descriptor, bytes);
    accepted.note(repository, descriptor.digest, 'pushed');
    const { subject } = parseManifest(bytes, descriptor.mediaType, `manifest ${descriptor.digest}`);
    if (subject === undefined) return;
    const referrer = { endpoint, descriptor, bytes, doing, signal };
    const isClaimed = headers['oci-subject'] !== undefined;
    if (!isClaimed || !(await fallback.keepsLists(referrer, subject.digest)))
      await fallback.add(referrer, subject.digest);
  }

  async #manifest(
    repository: Repository,
    descriptor: Descriptor,
    signal: AbortSignal | undefined,
  ): Promise<Buffer> {
    const { reading, manifests, accepted } = this.#parts;
    const { digest, size } = descriptor;
    const doing = `fetch manifest ${formatRepository(repository)}@${digest}`;
    const look = (): Promise<Buffer> =>
      reading.first(repository, { wanted: 'digest' }, async (endpoint) => {
        const fetched = await manifests.get({ endpoint, name: digest, doing, signal });
        return fetched.bytes;
      });
    const mayPass = ({ error }: Outcome<Buffer>): boolean => isMissing(error);
    const bytes =
      this.#kept.take(repository, digest) ??
      (await accepted.shown(repository, digest, { doing, signal, look, mayPass }));
    if (bytes.byteLength === size) return bytes;
    throw new AirliftError(
      'size-mismatch',
      `${doing}: wrong size; got ${bytes.byteLength} bytes, want ${size}`,
    );
  }
}

/** The codes of registries that lack a part of a manifest (distribution-spec, "Error Codes"). */
const missingParts: ReadonlySet<string> = new Set([
  'MANIFEST_BLOB_UNKNOWN',
  'BLOB_UNKNOWN',
  'MANIFEST_UNKNOWN',
]);

/** What a repository has to hold before it takes a manifest. */
function partsOf(bytes: Buffer, { mediaType, digest }: Descriptor): Digest[] {
  const manifest = parseManifest(bytes, mediaType, `manifest ${digest}`);
  if (manifest.kind === 'index') return manifest.manifests.map((child) => child.digest);
  const layers = manifest.layers.filter((layer) => !isForeignLayer(layer.mediaType));
  return [...(manifest.config === undefined ? [] : [manifest.config]), ...layers].map((part) => part.digest);
}

function isMissing(error: unknown): boolean {
  return isAirliftError(error, 'not-found');
}

async function readManifest(descriptor: Descriptor, open: OpenContent, doing: string): Promise<Buffer> {
  const stream = await open(0);
  const checked = verifyStream(descriptor.digest, descriptor.size);
  stream.on('error', (error) => checked.destroy(error));
  return readBody(stream.pipe(checked), maxManifestSize, doing);
}
