import type { IncomingMessage } from 'node:http';
import type { ContentStore, PushStore } from './store-content.js';

/** What a registry server allows. */
export interface ServerOptions {
  /** Whether an index is taken whose children are not all there. Blobs of a manifest must be there in any case. Default no. */
  readonly allowSparse?: boolean | undefined;
  /** Whether it may listen on an address that other machines reach. There is no authentication. Default no. */
  readonly allowRemote?: boolean | undefined;
  /** Milliseconds after which a client that takes no byte of an answer is dropped. Default 2 minutes. */
  readonly stallTimeout?: number | undefined;
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
