import { isAirliftError } from '../errors.js';
import { discard } from './http/answers.js';
import { Accepted } from './api/accepted.js';
import { Authenticator } from './auth/authenticator.js';
import { Blobs } from './api/blobs.js';
import { RegistryClient } from './api/client.js';
import { CredentialStore } from './auth/credentials.js';
import { EndpointBook } from './config/endpoint.js';
import { Exchange } from './http/exchange.js';
import { Guesses } from './api/guesses.js';
import { Manifests } from './api/manifests.js';
import type { RegistryHooks, RegistryOptions } from './config/options.js';
import { proxyFinder } from './http/proxy.js';
import { RateBudgetKeeper } from './http/limits.js';
import { Reading } from './api/reading.js';
import { ReferrersFallback } from './api/referrers-fallback.js';
import { TlsBook } from './config/tls.js';
import { Secrets } from './http/trace.js';
import { UploadMemory } from './upload/upload-memory.js';
import { Uploads } from './upload/uploads.js';
import { Wire } from './http/wire.js';

/** What a Registry is made of. */
export interface RegistryParts {
  readonly wire: Wire;
  readonly exchange: Exchange;
  readonly client: RegistryClient;
  readonly book: EndpointBook;
  readonly reading: Reading;
  readonly manifests: Manifests;
  readonly fallback: ReferrersFallback;
  readonly blobs: Blobs;
  readonly uploads: Uploads;
  readonly guesses: Guesses;
  readonly accepted: Accepted;
}

async function speaksTls(exchange: Exchange, origin: string, registry: string): Promise<boolean> {
  const request = {
    method: 'GET' as const,
    url: new URL(`${origin}/v2/`),
    headers: {},
    doing: `reach ${new URL(origin).host}`,
    registry,
    once: true,
    // Where it speaks no TLS, plain HTTP is the alternative.
    hasAlternative: true,
  };
  try {
    await discard(await exchange.send(request));
    return true;
  } catch (error) {
    if (isAirliftError(error, 'network', 'tls')) return false;
    throw error;
  }
}

/**
 * Puts the parts of a Registry together.
 * @throws AirliftError `usage` where an option can't be read
 */
export function assemble(options: RegistryOptions, hooks: RegistryHooks): RegistryParts {
  const warn = (text: string): void => hooks.warn?.(secrets.scrub(text));
  const note = (text: string): void => hooks.note?.(secrets.scrub(text));
  const secrets = new Secrets();
  const hosts = options.hosts ?? {};
  const tls = new TlsBook(options, hosts);
  const idleTimeout = options.idleTimeout ?? 60_000;
  const closing = new AbortController();
  const wire = new Wire(
    {
      idleTimeout,
      connectTimeout: Math.min(idleTimeout, 30_000),
      tlsOf: (host) => tls.of(host),
      proxyOf: proxyFinder(options.proxy, (secret) => secrets.add(secret)),
    },
    closing,
  );
  const exchange = new Exchange(
    wire,
    {
      retries: options.retries ?? 5,
      retryDelay: options.retryDelay ?? 500,
      maxRetryAfter: options.maxRetryAfter ?? 300_000,
      maxRequests: options.requestsPerHost ?? 32,
      alternativeConnectTimeout: Math.min(idleTimeout, 5000),
      closing: closing.signal,
      onSilence: (text) => hooks.silence?.(text),
      ...(hooks.trace === undefined ? {} : { trace: hooks.trace.bind(hooks) }),
    },
    secrets,
  );
  const store = new CredentialStore({
    authFiles: options.authFiles ?? [],
    explicit: options.credentials,
    hosts,
    warn,
  });
  const client = new RegistryClient(exchange, new Authenticator(exchange, store), warn);
  const budget =
    options.rateBudget === undefined
      ? undefined
      : new RateBudgetKeeper(exchange.rateLimits, options.rateBudget, warn, closing.signal);
  const book = new EndpointBook({
    plainHttp: options.plainHttp,
    rules: options.mirrors ?? [],
    tls,
    hasTls: (origin, registry) => speaksTls(exchange, origin, registry),
  });
  const manifests = new Manifests(client, budget);
  const blobs = new Blobs(client);
  const guesses = new Guesses();
  return {
    wire,
    exchange,
    client,
    book,
    reading: new Reading(book, { warn, note }),
    manifests,
    fallback: new ReferrersFallback({ client, manifests, guesses }, warn),
    blobs,
    guesses,
    accepted: new Accepted(options.settleTime ?? 20_000, options.retryDelay ?? 500),
    uploads: new Uploads(client, blobs, options.chunkSize, new UploadMemory(options.uploadsDirectory)),
  };
}
