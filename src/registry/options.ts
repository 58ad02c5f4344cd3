import type { RequestTrace } from './trace.js';

/**
 * How registries are reached. Plain data only, so that it crosses into worker threads by structured clone. Everything that
 * comes from the environment (paths of auth files, proxies) is read by the CLI and given here.
 */
export interface RegistryOptions {
  /**
   * `true`: plain HTTP with every host; `false`: HTTPS with every host; left out: plain HTTP with loopback hosts
   * (127.0.0.0/8, ::1, localhost) and HTTPS with all others.
   */
  readonly plainHttp?: boolean | undefined;
  /** Docker's and containers' auth files, in order of precedence. Those that do not exist are passed over. */
  readonly authFiles?: readonly string[] | undefined;
  /** A user name and password that go before all auth files, for one registry, or for each where none is named. */
  readonly credentials?: ExplicitCredentials | undefined;
  /** PEM file of certificate authorities to trust besides the system's. */
  readonly caFile?: string | undefined;
  /** Do not check certificates. */
  readonly insecureSkipTlsVerify?: boolean | undefined;
  /** How often a request is tried again after a network fault, a 429 or a 5xx. Default 5. */
  readonly retries?: number | undefined;
  /** Milliseconds of the first wait before a request is tried again; it doubles from there. Default 500. */
  readonly retryDelay?: number | undefined;
  /** The most milliseconds to wait because a registry asks for it (`Retry-After`). Default 5 minutes. */
  readonly maxRetryAfter?: number | undefined;
  /** Milliseconds without a byte after which a connection counts as broken. Default 60 000. */
  readonly idleTimeout?: number | undefined;
  /** The most connections to one host. Default 32. */
  readonly connections?: number | undefined;
}

export interface ExplicitCredentials {
  readonly username: string;
  readonly password: string;
  /** The registry, as references name it, that they are for. */
  readonly registry?: string | undefined;
}

/** What a caller may listen to. */
export interface RegistryHooks {
  /** Each HTTP exchange, with secrets redacted. */
  trace?(event: RequestTrace): void;
  /** What a person should know of, although it stops nothing. */
  warn?(text: string): void;
}
