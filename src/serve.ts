import { createRegistryServer, type RegistryOptions } from './registry/server.js';
import { DirectoryStore } from './registry/store.js';

/** What to serve: a directory that takes pushes too. */
export interface ServeSource {
  /** Directory of the store; made with the first push. */
  readonly store: string;
}

/** Where and how to serve. */
export interface ServeOptions extends RegistryOptions {
  /** Default 127.0.0.1. */
  readonly host?: string | undefined;
  /** Default 5000; 0 takes a free one. */
  readonly port?: number | undefined;
}

/** A registry that is being served. */
export interface Serving {
  readonly host: string;
  readonly port: number;
  /** `http://host:port`. */
  readonly url: string;
  /** Stops listening and ends every connection. What was being uploaded can be gone on with later. */
  close(): Promise<void>;
}

/**
 * Serves a directory as an OCI registry.
 * @throws AirliftError `usage` for an address that is not loopback without `allowRemote`, `busy` for a port in use, `io`
 */
export async function serve(source: ServeSource, options: ServeOptions = {}): Promise<Serving> {
  const { host = '127.0.0.1', port = 5000, ...registry } = options;
  const store = await DirectoryStore.open(source.store);
  const server = createRegistryServer(store, registry);
  const listening = await server.listen(host, port);
  return { ...listening, close: () => server.close() };
}
