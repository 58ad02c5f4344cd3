import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { issueCertificate, makeAuthority, type KeyPair } from './certificates.js';
import { startDaemon } from './daemon.js';
import { peerPath, run } from './peers.js';
import { startTokenServer, type TokenOptions, type TokenRequest } from './token-server.js';

export interface DockerRegistryOptions {
  /** Require basic authentication with this user. Requires htpasswd. */
  readonly htpasswd?: { readonly user: string; readonly password: string };
  /** Require bearer tokens of a token server, which is started with the registry. Requires openssl. */
  readonly token?: TokenOptions;
  /** Serve HTTPS with a certificate for 127.0.0.1 and localhost, issued by a new authority. Requires openssl. */
  readonly tls?: boolean;
  /** Names of the certificate (default: 127.0.0.1 and localhost). */
  readonly tlsNames?: readonly string[];
  /** Accept only clients with a certificate of that authority; requires `tls`. */
  readonly clientCa?: boolean;
  /** Reject every write request (405 UNSUPPORTED). */
  readonly readOnly?: boolean;
  /** Directory of existing storage, which is kept at the end (default: a temporary directory). */
  readonly storage?: string;
  /** Allow deletions (default: true). */
  readonly delete?: boolean;
  /** Settings as `REGISTRY_…` variables. */
  readonly env?: Readonly<Record<string, string>>;
  /** Accept layers with http and https `urls` (default: true, unlike the program's default). */
  readonly layerUrls?: boolean;
  /** Return locations without a host (default: false, as in the program). */
  readonly relativeUrls?: boolean;
}

export interface DockerRegistry {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  readonly pid: number;
  /** The storage directory, which contains `docker/registry/v2/…`. */
  readonly dir: string;
  /** Path of the authority's certificate; undefined without `tls`. */
  readonly ca: string | undefined;
  /** A client's certificate and key; undefined without `clientCa`. */
  readonly client: KeyPair | undefined;
  /** The requests to the token server so far. */
  readonly tokenRequests: readonly TokenRequest[];
  /** Returns the log so far: one JSON object per line. */
  log(): string;
  /** Stops the registry and removes its temporary storage. */
  stop(): Promise<void>;
}

/**
 * Starts Debian's docker-registry (distribution 2.8) on a free port of 127.0.0.1. By default it allows deletions and foreign
 * layers with http and https `urls`. It rejects manifests with a sha512 digest, and indexes with missing children.
 */
export async function startDockerRegistry(options: DockerRegistryOptions = {}): Promise<DockerRegistry> {
  const work = mkdtempSync(join(tmpdir(), 'airlift-registry-'));
  const dir = options.storage ?? join(work, 'storage');
  mkdirSync(dir, { recursive: true });
  const http: Record<string, unknown> = {
    addr: '127.0.0.1:0',
    secret: 'airlift-test',
    relativeurls: options.relativeUrls ?? false,
  };
  const config: Record<string, unknown> = {
    version: '0.1',
    log: { level: 'info', formatter: 'json', accesslog: { disabled: true } },
    storage: {
      filesystem: { rootdirectory: dir },
      delete: { enabled: options.delete ?? true },
      maintenance: {
        uploadpurging: { enabled: false },
        readonly: { enabled: options.readOnly ?? false },
      },
    },
    http,
    ...(options.layerUrls === false
      ? {}
      : { validation: { manifests: { urls: { allow: ['^https?://'] } } } }),
  };

  let ca: string | undefined;
  let client: KeyPair | undefined;
  if (options.tls === true) {
    const authority = await makeAuthority(work);
    const server = await issueCertificate(work, authority, 'server', options.tlsNames);
    ca = authority.cert;
    if (options.clientCa === true) client = await issueCertificate(work, authority, 'client');
    http['tls'] = {
      certificate: server.cert,
      key: server.key,
      ...(client === undefined ? {} : { clientcas: [ca] }),
    };
  }
  if (options.htpasswd !== undefined) {
    const path = join(work, 'htpasswd');
    const { user, password } = options.htpasswd;
    writeFileSync(path, (await run('htpasswd', ['-Bbn', '-C', '4', user, password])).stdout);
    config['auth'] = { htpasswd: { realm: 'test', path } };
  }
  const tokens = options.token === undefined ? undefined : await startTokenServer(work, options.token);
  if (tokens !== undefined) {
    const { realm, service, issuer, certificate } = tokens;
    config['auth'] = { token: { realm, service, issuer, rootcertbundle: certificate } };
  }

  // JSON is valid YAML.
  writeFileSync(join(work, 'config.yml'), JSON.stringify(config));
  const daemon = await startDaemon(peerPath('docker-registry'), ['serve', join(work, 'config.yml')], {
    log: join(work, 'log'),
    ready: (log) => /listening on (127\.0\.0\.1:\d+)/.exec(log)?.[1],
    env: { OTEL_TRACES_EXPORTER: 'none', ...options.env },
  });
  return {
    host: daemon.answer,
    pid: daemon.pid,
    dir,
    ca,
    client,
    tokenRequests: tokens?.requests ?? [],
    log: () => readFileSync(daemon.log, 'utf8'),
    stop: async () => {
      await daemon.stop();
      await tokens?.stop();
      await rm(work, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
