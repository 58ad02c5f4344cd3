import { BundleReader } from '../bundle/reader.js';
import type { AirliftError } from '../errors.js';
import { openInputs, type InputOptions } from '../merge/open-inputs.js';
import { filesOf } from '../merge/volume-inputs.js';
import {
  createRegistryServer,
  type ContentStore,
  type RegistryServer,
  type ServerOptions,
} from '../registry-server/server.js';
import { DirectoryStore } from '../registry-server/store.js';
import { isLoopback } from '../oci/reference.js';
import type { NamedImage } from '../site/names.js';
import { BundleContent } from './bundle-content.js';
import { openCertificate, type CertificateFiles } from './certificate.js';
import { guardFiles } from './file-guard.js';
import { PasswordFile } from './htpasswd.js';
import { ImageNames } from './image-names.js';
import { ImageStore } from './image-store.js';
import { MergedContent } from './merged-content.js';

/** What to serve: a directory, which also accepts pushes, or bundles and archives, which are read-only. */
export type ServeSource =
  /** Directory of the store. The first push creates it. */
  | { readonly store: string; readonly inputs?: undefined }
  /** Bundles and archives, merged as an import merges them. */
  | (InputOptions & { readonly store?: undefined });

/** Options of serve. */
export interface ServeOptions extends Omit<ServerOptions, 'tls' | 'logins'> {
  /** Serve HTTPS with this certificate. Default: HTTP. */
  readonly tls?: CertificateFiles | undefined;
  /** Path of a file with users and bcrypt hashes, as `htpasswd -B` writes it. Default: no login is required. */
  readonly passwordFile?: string | undefined;
  /** Address to listen on. Default: 127.0.0.1. */
  readonly host?: string | undefined;
  /** Port to listen on; 0 picks a free one. Default: 5000. */
  readonly port?: number | undefined;
}

/** Milliseconds between two searches for abandoned uploads. */
const cleaningInterval = 3600 * 1000;

/** A running registry. */
export interface Serving {
  readonly host: string;
  readonly port: number;
  /** `http://host:port` or `https://host:port`. */
  readonly url: string;
  /** Names and addresses that the certificate is valid for; empty without TLS. */
  readonly certificateNames: readonly string[];
  /** The authority of the certificate in PEM, if its file contains it. */
  readonly authority: string | undefined;
  /** Warnings about who can reach the registry. */
  readonly warnings: readonly string[];
  /** The images of bundles and archives; empty for a directory. */
  readonly images: readonly NamedImage[];
  /**
   * References of images that share repository path and tag with an image of another registry. They are served under their full names
   * only.
   */
  readonly ambiguous: readonly string[];
  /** An image that can be pulled, as `repository:tag`; undefined if no image has a tag. */
  readonly example: string | undefined;
  /**
   * Rejects when a bundle or archive that is read in place is replaced, removed or changed, after all connections are closed. Otherwise
   * stays pending.
   */
  readonly broken: Promise<never>;
  /** Lets running downloads, uploads and pulls finish, then stops listening. */
  drain(): Promise<void>;
  /** Stops listening and closes all connections. Clients can resume running uploads later. A second call has no effect. */
  close(): Promise<void>;
}

/**
 * Serves a directory, or bundles and archives, as an OCI registry. Bundles and archives are read-only. Each of their images has two
 * names: its repository path (`library/busybox`) and its full name (`docker.io/library/busybox`).
 * @throws AirliftError `busy` for a port in use, `io`, `input` for a wrong certificate or password file, and the errors of opening and
 * merging inputs
 */
export async function serve(source: ServeSource, options: ServeOptions = {}): Promise<Serving> {
  const { host = '127.0.0.1', port = 5000, tls, passwordFile, ...rest } = options;
  // Wrong files are reported before inputs are read, which can take minutes.
  const certificate = tls === undefined ? undefined : await openCertificate(tls);
  const onError = (error: AirliftError): void => options.onError?.(error);
  const logins = passwordFile === undefined ? undefined : await PasswordFile.open(passwordFile, onError);
  let fail: (error: AirliftError) => void = () => undefined;
  const broken = new Promise<never>((_, reject) => (fail = reject));
  broken.catch(() => undefined);
  let change: AirliftError | undefined;
  let server: RegistryServer | undefined;
  const opened = await open(source, (error) => {
    change ??= error;
    void server?.close().then(() => fail(error));
  });
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => (closed ??= Promise.resolve(server?.close()).then(() => opened.close()));
  try {
    if (change !== undefined) throw change;
    const running = createRegistryServer(opened.store, { ...rest, tls: certificate, logins });
    server = running;
    const listening = await running.listen(host, port);
    return {
      ...listening,
      certificateNames: certificate?.names ?? [],
      authority: certificate?.authority,
      warnings: warningsOf(host, opened.store.push !== undefined, options),
      images: opened.images,
      ambiguous: opened.ambiguous,
      example: await exampleOf(opened.store),
      broken,
      drain: () => running.drain(),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** @param isWritable whether clients can push */
function warningsOf(host: string, isWritable: boolean, { tls, passwordFile }: ServeOptions): string[] {
  if (isLoopback(host)) return [];
  const access = isWritable ? 'pull, push and delete everything' : 'pull everything';
  if (passwordFile === undefined) {
    const insecure = tls === undefined ? ', and change what others pull on the way' : '';
    return [
      `without \`passwordFile\`, everyone who reaches ${host} can ${access}${insecure}; use it on a trusted network only`,
    ];
  }
  return tls === undefined
    ? ['without `tls`, passwords travel in clear text: everyone on the network between can read them']
    : [];
}

interface OpenedSource {
  readonly store: ContentStore;
  readonly images: readonly NamedImage[];
  readonly ambiguous: readonly string[];
  close(): Promise<void>;
}

/** @param onChange receives an error when an input that is read in place is replaced, removed or written to */
async function open(source: ServeSource, onChange: (error: AirliftError) => void): Promise<OpenedSource> {
  if (source.store !== undefined) {
    const store = await DirectoryStore.open(source.store);
    await store.removeStaleUploads();
    const timer = setInterval(() => {
      // The directory may be gone for a moment; the next hour comes.
      store.removeStaleUploads().catch(() => undefined);
    }, cleaningInterval).unref();
    const close = (): Promise<void> => Promise.resolve(clearInterval(timer));
    return { store, images: [], ambiguous: [], close };
  }
  return await openImages(source, onChange);
}

async function openImages(
  source: InputOptions,
  onChange: (error: AirliftError) => void,
): Promise<OpenedSource> {
  // Guarded before they are opened: a change in between is noticed, too.
  const guard = await guardFiles(await filesOf(source.inputs, source.archives?.volumeDirs), onChange);
  try {
    const inputs = await openInputs(source);
    try {
      const content =
        inputs.source instanceof BundleReader
          ? new BundleContent(inputs.source, guard)
          : await MergedContent.open(inputs, guard, source.signal);
      const names = new ImageNames(inputs.images);
      return {
        store: new ImageStore(names, content),
        images: [...inputs.images].map(({ reference, root, original }) => ({
          source: reference,
          digest: root.digest,
          original: original?.digest,
        })),
        ambiguous: names.ambiguous,
        close: async () => {
          await guard.close();
          await inputs.close();
        },
      };
    } catch (error) {
      await inputs.close();
      throw error;
    }
  } catch (error) {
    await guard.close();
    throw error;
  }
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
