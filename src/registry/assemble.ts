import { isAirliftError } from '../errors.js';
import { AcceptedContent } from './api/accepted.js';
import { Blobs } from './api/blobs.js';
import { RegistryClient } from './api/client.js';
import { Guesses } from './api/guesses.js';
import { Manifests } from './api/manifests.js';
import { MirrorReader } from './api/mirror-reader.js';
import { ReferrersFallback } from './api/referrers-fallback.js';
import { Authenticator } from './auth/authenticator.js';
import { CredentialStore } from './auth/credentials.js';
import { EndpointResolver } from './config/endpoint.js';
import type { RegistryHooks, RegistryOptions } from './config/options.js';
import { TlsConfig } from './config/tls.js';
import { Exchange } from './http/exchange.js';
import { RateBudgetKeeper } from './http/limits.js';
import { proxyFinder } from './http/proxy.js';
import { Secrets } from './http/redact.js';
import { discard } from './http/responses.js';
import { Wire } from './http/wire.js';
import { UploadMemory } from './upload/upload-memory.js';
import { Uploads } from './upload/uploads.js';

/** The parts of a Registry. */
export interface RegistryParts {
  readonly wire: Wire;
  readonly exchange: Exchange;
  readonly client: RegistryClient;
  readonly endpoints: EndpointResolver;
  readonly reader: MirrorReader;
  readonly manifests: Manifests;
  readonly fallback: ReferrersFallback;
  readonly blobs: Blobs;
  readonly uploads: Uploads;
  readonly guesses: Guesses;
  readonly accepted: AcceptedContent;
}

async function supportsTls(exchange: Exchange, origin: string, registry: string): Promise<boolean> {
  const request = {
    method: 'GET' as const,
    url: new URL(`${origin}/v2/`),
    headers: {},
    action: `reach ${new URL(origin).host}`,
    registry,
    once: true,
    // Plain HTTP is the alternative.
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
 * Creates the parts of a Registry.
 * @throws AirliftError `usage` if an option is invalid
 */
export function assemble(options: RegistryOptions, hooks: RegistryHooks): RegistryParts {
  const warn = (text: string): void => hooks.warn?.(secrets.scrub(text));
  const note = (text: string): void => hooks.note?.(secrets.scrub(text));
  const secrets = new Secrets();
  const hosts = options.hosts ?? {};
  const tls = new TlsConfig(options, hosts);
  const idleTimeout = options.idleTimeout ?? 60_000;
  const closing = new AbortController();
  const wire = new Wire(
    {
      idleTimeout,
      connectTimeout: Math.min(idleTimeout, 30_000),
      tlsOf: (host) => tls.settingsFor(host),
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
  const endpoints = new EndpointResolver({
    plainHttp: options.plainHttp,
    rules: options.mirrors ?? [],
    tls,
    supportsTls: (origin, registry) => supportsTls(exchange, origin, registry),
  });
  const manifests = new Manifests(client, budget);
  const blobs = new Blobs(client);
  const guesses = new Guesses();
  return {
    wire,
    exchange,
    client,
    endpoints,
    reader: new MirrorReader(endpoints, { warn, note }),
    manifests,
    fallback: new ReferrersFallback({ client, manifests, guesses }, warn),
    blobs,
    guesses,
    accepted: new AcceptedContent(options.settleTime ?? 20_000, options.retryDelay ?? 500),
    uploads: new Uploads(client, blobs, options.chunkSize, new UploadMemory(options.uploadsDirectory)),
  };
}
