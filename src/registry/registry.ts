import { Readable } from 'node:stream';
import { AirliftError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import { digestOf, algorithmOf, verifyStream, type Digest } from '../oci/digest.js';
import { maxManifestSize } from '../oci/manifest.js';
import { isManifest, isSchema1 } from '../oci/media-types.js';
import { formatReference, formatRepository, type Reference, type Repository } from '../oci/reference.js';
import type { FetchOptions, Source } from '../oci/source.js';
import type { OpenContent, Pushed, PushOptions, Target } from '../oci/target.js';
import { readBody } from './answers.js';
import { Authenticator } from './authenticator.js';
import { Blobs } from './blobs.js';
import { RegistryClient } from './client.js';
import { CredentialStore } from './credentials.js';
import { upstream, type Endpoint } from './endpoint.js';
import { Exchange } from './exchange.js';
import { Manifests } from './manifests.js';
import type { RegistryHooks, RegistryOptions } from './options.js';
import { listReferrers } from './referrers.js';
import { listTags } from './tags.js';
import { tlsSettings } from './tls.js';
import { Secrets } from './trace.js';
import { Uploads } from './uploads.js';
import { Wire } from './wire.js';

export type { ExplicitCredentials, RegistryHooks, RegistryOptions } from './options.js';
export type { RequestTrace } from './trace.js';

/** Manifests that came while resolving and will be asked for next. */
const keptManifests = 64;

function livesUnderManifests(descriptor: Descriptor): boolean {
  return isManifest(descriptor.mediaType) || isSchema1(descriptor.mediaType);
}

/**
 * All registries, as Source and Target, by the OCI distribution-spec 1.1. One object serves every host; it holds their
 * connections and tokens. Close it when done.
 */
export class Registry implements Source, Target {
  readonly #options: RegistryOptions;
  readonly #wire: Wire;
  readonly #client: RegistryClient;
  readonly #manifests: Manifests;
  readonly #blobs: Blobs;
  readonly #uploads: Uploads;
  readonly #kept = new Map<string, Buffer>();

  constructor(options: RegistryOptions = {}, hooks: RegistryHooks = {}) {
    this.#options = options;
    const idleTimeout = options.idleTimeout ?? 60_000;
    this.#wire = new Wire({
      idleTimeout,
      connectTimeout: Math.min(idleTimeout, 30_000),
      connections: options.connections ?? 32,
      tlsOf: tlsSettings(options),
    });
    const secrets = new Secrets();
    const exchange = new Exchange(
      this.#wire,
      {
        retries: options.retries ?? 5,
        retryDelay: options.retryDelay ?? 500,
        maxRetryAfter: options.maxRetryAfter ?? 300_000,
        ...(hooks.trace === undefined ? {} : { trace: hooks.trace.bind(hooks) }),
      },
      secrets,
    );
    const store = new CredentialStore(options.authFiles ?? [], options.credentials);
    this.#client = new RegistryClient(exchange, new Authenticator(exchange, store));
    this.#manifests = new Manifests(this.#client);
    this.#blobs = new Blobs(this.#client);
    this.#uploads = new Uploads(this.#client);
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
    const endpoint = this.#endpoint(reference);
    const call = { endpoint, name, doing, signal: options.signal };
    const told = await this.#manifests.head(call);
    if (told !== undefined) return told;
    const { descriptor, bytes } = await this.#manifests.get(call);
    this.#keep(reference, descriptor.digest, bytes);
    return descriptor;
  }

  /**
   * The content of a descriptor: manifests whole and checked, blobs as they come. A blob's stream that breaks fails with
   * `network`.
   * @throws AirliftError as `resolve`; `unsupported` where a blob can't be had from `offset` on; `size-mismatch` where the
   *   registry announces another length; `digest-mismatch` for a manifest that is not what its digest says
   */
  async fetch(repository: Repository, descriptor: Descriptor, options: FetchOptions = {}): Promise<Readable> {
    const { offset = 0, signal } = options;
    const inline = inlineContent(descriptor);
    if (inline !== undefined) return readableOf(inline, offset);
    const endpoint = this.#endpoint(repository);
    if (!livesUnderManifests(descriptor)) {
      const doing = `fetch blob ${descriptor.digest} of ${formatRepository(repository)}`;
      return this.#blobs.fetch({ endpoint, descriptor, doing, signal }, offset);
    }
    return readableOf(await this.#manifest(repository, descriptor, signal), offset);
  }

  /** What refers to a digest. The list is empty where nothing does. */
  async *referrers(
    repository: Repository,
    digest: Digest,
    options: FetchOptions = {},
  ): AsyncGenerator<Descriptor> {
    const endpoint = this.#endpoint(repository);
    const doing = `list referrers of ${formatRepository(repository)}@${digest}`;
    yield* listReferrers(this.#client, this.#manifests, { endpoint, digest, doing, signal: options.signal });
  }

  /**
   * The tags of a repository, in the registry's order.
   * @throws AirliftError `not-found` where there is no such repository
   */
  async *tags(
    repository: Repository,
    options: { signal?: AbortSignal | undefined } = {},
  ): AsyncGenerator<string> {
    const endpoint = this.#endpoint(repository);
    yield* listTags(this.#client, endpoint, `list tags of ${formatRepository(repository)}`, options.signal);
  }

  /** Whether the repository holds the content, in full. */
  async exists(repository: Repository, descriptor: Descriptor): Promise<boolean> {
    const endpoint = this.#endpoint(repository);
    const doing = `look for ${descriptor.digest} in ${formatRepository(repository)}`;
    return livesUnderManifests(descriptor)
      ? this.#manifests.exists(endpoint, descriptor, doing)
      : this.#blobs.exists({ endpoint, descriptor, doing });
  }

  /**
   * Puts a blob, or a manifest under its digest, there. The content is verified on its way; wrong content never completes.
   * @throws AirliftError `digest-mismatch` or `size-mismatch` where the content is wrong; `unauthorized`, `denied`, `registry`,
   *   `rate-limited`, `network`, `tls`; what `open` throws
   */
  async push(
    repository: Repository,
    descriptor: Descriptor,
    open: OpenContent,
    options: PushOptions = {},
  ): Promise<Pushed> {
    const endpoint = this.#endpoint(repository);
    const { mountFrom, signal } = options;
    const doing = `push to ${formatRepository(repository)}`;
    if (livesUnderManifests(descriptor)) {
      const bytes = await readManifest(descriptor, open, doing);
      const call = {
        endpoint,
        name: descriptor.digest,
        doing: `${doing}: manifest ${descriptor.digest}`,
        signal,
      };
      await this.#manifests.put(call, descriptor, bytes);
      return 'uploaded';
    }
    const isSameHost = mountFrom !== undefined && mountFrom.registry === repository.registry;
    return this.#uploads.push({
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
    const bytes = await readManifest(descriptor, open, doing);
    await this.#manifests.put({ endpoint: this.#endpoint(reference), name: tag, doing }, descriptor, bytes);
  }

  /** Ends all connections. What is under way fails. */
  async close(): Promise<void> {
    await this.#wire.close();
  }

  #endpoint(name: Repository): Endpoint {
    return upstream(name, this.#options.plainHttp);
  }

  async #manifest(
    repository: Repository,
    descriptor: Descriptor,
    signal: AbortSignal | undefined,
  ): Promise<Buffer> {
    const key = `${formatRepository(repository)}@${descriptor.digest}`;
    const kept = this.#kept.get(key);
    this.#kept.delete(key);
    const doing = `fetch manifest ${key}`;
    const bytes =
      kept ??
      (
        await this.#manifests.get({
          endpoint: this.#endpoint(repository),
          name: descriptor.digest,
          doing,
          signal,
        })
      ).bytes;
    if (bytes.byteLength !== descriptor.size)
      throw new AirliftError(
        'size-mismatch',
        `${doing}: wrong size; got ${bytes.byteLength} bytes, want ${descriptor.size}`,
      );
    return bytes;
  }

  #keep(repository: Repository, digest: Digest, bytes: Buffer): void {
    const oldest = this.#kept.size >= keptManifests ? this.#kept.keys().next().value : undefined;
    if (oldest !== undefined) this.#kept.delete(oldest);
    this.#kept.set(`${formatRepository(repository)}@${digest}`, bytes);
  }
}

/** The content that a descriptor carries itself, where it is what the descriptor says (image-spec, descriptor.md, `data`). */
function inlineContent(descriptor: Descriptor): Buffer | undefined {
  if (descriptor.data === undefined || descriptor.size > maxManifestSize) return undefined;
  const bytes = Buffer.from(descriptor.data, 'base64');
  const isRight =
    bytes.byteLength === descriptor.size &&
    digestOf(bytes, algorithmOf(descriptor.digest)) === descriptor.digest;
  return isRight ? bytes : undefined;
}

function readableOf(bytes: Buffer, offset: number): Readable {
  return Readable.from(offset < bytes.byteLength ? [bytes.subarray(offset)] : [], { objectMode: false });
}

async function readManifest(descriptor: Descriptor, open: OpenContent, doing: string): Promise<Buffer> {
  const stream = await open(0);
  const checked = verifyStream(descriptor.digest, descriptor.size);
  stream.on('error', (error) => checked.destroy(error));
  return readBody(stream.pipe(checked), maxManifestSize, doing);
}
