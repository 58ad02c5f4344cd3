import { openChecked } from '../bundle/verify/check-front.js';
import type { AirliftError } from '../errors.js';
import { createRegistryServer, type ContentStore, type ServerOptions } from '../registry-server/server.js';
import { DirectoryStore } from '../registry-server/store.js';
import { BundleStore } from './bundle-store.js';
import { FileGuard } from './file-guard.js';

/** What to serve: a directory, which also accepts pushes, or a bundle, which is read-only. */
export type ServeSource =
  /** Directory of the store. The first push creates it. */
  | { readonly store: string; readonly bundle?: undefined }
  /** Path of the bundle. */
  | { readonly bundle: string; readonly store?: undefined };

/** Options of serve. */
export interface ServeOptions extends ServerOptions {
  /** Address to listen on. Default: 127.0.0.1. */
  readonly host?: string | undefined;
  /** Port to listen on; 0 picks a free one. Default: 5000. */
  readonly port?: number | undefined;
}

/** A running registry. */
export interface Serving {
  readonly host: string;
  readonly port: number;
  /** `http://host:port`. */
  readonly url: string;
  /**
   * References of a bundle that share repository path and tag with an image of another registry. They are served under their full
   * names only.
   */
  readonly ambiguous: readonly string[];
  /** An image that can be pulled, as `repository:tag`; undefined if no image has a tag. */
  readonly example: string | undefined;
  /**
   * Rejects when the bundle's file is replaced, removed or changed, after all connections are closed. Otherwise stays pending.
   */
  readonly broken: Promise<never>;
  /** Lets running downloads, uploads and pulls finish, then stops listening. */
  drain(): Promise<void>;
  /** Stops listening and closes all connections. Clients can resume running uploads later. A second call has no effect. */
  close(): Promise<void>;
}

/**
 * Serves a directory or a bundle as an OCI registry. A bundle is read-only. Each of its images has two names: its repository path
 * (`library/busybox`) and its full name (`docker.io/library/busybox`).
 * @throws AirliftError `usage` for an address that is not loopback without `allowRemote`, `busy` for a port in use, `io`, and the errors of
 * opening a bundle
 */
export async function serve(source: ServeSource, options: ServeOptions = {}): Promise<Serving> {
  const { host = '127.0.0.1', port = 5000, ...registry } = options;
  let fail: (error: AirliftError) => void = () => undefined;
  const broken = new Promise<never>((_, reject) => (fail = reject));
  broken.catch(() => undefined);
  const opened = await open(source, (error) => {
    void server.close().then(() => fail(error));
  });
  const server = createRegistryServer(opened.store, registry);
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => (closed ??= server.close().then(() => opened.close()));
  try {
    const listening = await server.listen(host, port);
    return {
      ...listening,
      ambiguous: opened.ambiguous,
      example: await exampleOf(opened.store),
      broken,
      drain: () => server.drain(),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

interface OpenedSource {
  readonly store: ContentStore;
  readonly ambiguous: readonly string[];
  close(): Promise<void>;
}

/** @param onChange receives an error when the bundle's file is replaced, removed or written to */
async function open(source: ServeSource, onChange: (error: AirliftError) => void): Promise<OpenedSource> {
  if (source.store !== undefined) {
    return { store: await DirectoryStore.open(source.store), ambiguous: [], close: () => Promise.resolve() };
  }
  const reader = await openChecked(source.bundle);
  const guard = new FileGuard(reader.file, source.bundle, onChange);
  const store = new BundleStore(reader, () => guard.check());
  const close = async (): Promise<void> => {
    guard.stop();
    await reader.close();
  };
  return { store, ambiguous: store.ambiguous, close };
}

async function exampleOf(store: ContentStore): Promise<string | undefined> {
  // Full names may come first in the list. If there is no short one among the first ten, a full name serves as well.
  const names = await store.repositories({ after: undefined, limit: 10 });
  for (const name of names.sort((a, b) => a.split('/').length - b.split('/').length)) {
    const [tag] = (await store.tags(name, { after: undefined, limit: 1 })) ?? [];
    if (tag !== undefined) return `${name}:${tag}`;
  }
  return undefined;
}
