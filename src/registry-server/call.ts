import type { IncomingMessage } from 'node:http';
import type { AirliftError } from '../errors.js';
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

/** What a registry server allows. */
export interface ServerOptions {
  /** Whether an index is taken whose children are not all there. Blobs of a manifest must be there in any case. Default no. */
  readonly allowSparse?: boolean | undefined;
  /** Whether it may listen on an address that other machines reach. There is no authentication. Default no. */
  readonly allowRemote?: boolean | undefined;
  /**
   * Milliseconds over which a client must send or accept at least 1 KiB/s on average while the server waits for it; a slower one is
   * dropped. Default: 2 minutes.
   */
  readonly stallTimeout?: number | undefined;
  /** Bounds on what clients may hold open at a time. */
  readonly limits?: Partial<ServerLimits> | undefined;
  /** Receives each error that kept a request from being answered in full, other than a client that went away. */
  readonly onError?: ((error: AirliftError) => void) | undefined;
  /** Told of every request once it has been answered. */
  readonly onRequest?: ((entry: RequestEntry) => void) | undefined;
}

/** One answered request. */
export interface RequestEntry {
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  readonly status: number;
  /** Bytes of the answer's body. */
  readonly bytes: number;
}

/** A request on its way through the server. */
export interface Call {
  readonly method: string;
  readonly request: IncomingMessage;
  readonly query: URLSearchParams;
  readonly store: ContentStore;
  readonly options: ServerOptions;
}

/** A request that writes, to a store that takes it. */
export interface PushCall extends Call {
  readonly push: PushStore;
}
