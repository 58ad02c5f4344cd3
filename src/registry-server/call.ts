import type { IncomingMessage } from 'node:http';
import type { AirliftError } from '../errors.js';
import type { Downloads } from './blob-download.js';
import type { ContentStore, PushStore } from './store-content.js';

/** How much clients may hold open at a time. */
export interface ServerLimits {
  /** Requests being answered; more get 503. Default: 4,096. */
  readonly requests: number;
  /** Requests of one address being answered; more get 503. Default: 2,048. */
  readonly requestsOfClient: number;
  /** Idle connections; more close the longest idle one. Default: 2,048. */
  readonly idle: number;
  /** Idle connections of one address; more close the longest idle one. Default: 1,024. */
  readonly idleOfClient: number;
  /** Milliseconds after which an idle connection is closed. Default: 65 seconds. */
  readonly idleTimeout: number;
}

/** Options of a registry server. */
export interface ServerOptions {
  /** Accept an index with missing children. Default: false. */
  readonly allowSparse?: boolean | undefined;
  /** Accept a manifest whose config or layers are missing. Default: false. */
  readonly allowMissingBlobs?: boolean | undefined;
  /** Serve HTTPS with this certificate (default: HTTP). */
  readonly tls?: ServerCertificate | undefined;
  /** Checks the login of each request (default: no login is required). */
  readonly logins?: Logins | undefined;
  /**
   * Milliseconds over which a client must send or accept at least 1 KiB/s on average while the server waits for it; a slower one is
   * dropped. Default: 2 minutes.
   */
  readonly stallTimeout?: number | undefined;
  /** Bounds on what clients may hold open at a time. */
  readonly limits?: Partial<ServerLimits> | undefined;
  /** Receives each error that kept a request from being answered in full, other than a client that went away. */
  readonly onError?: ((error: AirliftError) => void) | undefined;
  /** Receives every request after it was answered. */
  readonly onRequest?: ((entry: RequestEntry) => void) | undefined;
}

/** A certificate with its chain, and its private key, in PEM. */
export interface ServerCertificate {
  readonly cert: string;
  readonly key: string;
}

/** Checks logins. */
export interface Logins {
  /**
   * Checks the `Authorization` header of a request.
   * @returns the user; `refused` for missing or wrong credentials; `busy` if too many logins are being checked
   */
  check(authorization: string | undefined): Promise<{ readonly user: string } | 'refused' | 'busy'>;
}

/** One answered request. */
export interface RequestEntry {
  readonly method: string;
  /** Path and query; values of parameters that the distribution-spec does not define are left out. */
  readonly target: string;
  readonly status: number;
  /** Bytes of the response body that were sent. */
  readonly bytes: number;
  /** Whether the answer broke off: the client went away, or an error prevented the rest. */
  readonly isCut: boolean;
  /** Address of the client. */
  readonly client: string;
  /** The user that logged in. */
  readonly user: string | undefined;
  /** The client's name for itself. */
  readonly userAgent: string | undefined;
  /** Time from the head of the request to the end of its answer. */
  readonly milliseconds: number;
}

/** A request being answered, with what its handler needs. */
export interface Call {
  readonly method: string;
  readonly request: IncomingMessage;
  readonly query: URLSearchParams;
  readonly store: ContentStore;
  readonly options: ServerOptions;
  readonly downloads: Downloads;
  /** Formats the server's metrics. */
  readonly formatMetrics: () => string;
}

/** A request that writes, and the store to write to. */
export interface PushCall extends Call {
  readonly push: PushStore;
}
