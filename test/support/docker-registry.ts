import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { issueCertificate, makeAuthority, type KeyPair } from './certificates.js';
import { startDaemon } from './daemon.js';
import { peerPath, run } from './peers.js';
import { startTokenServer, type TokenOptions, type TokenRequest } from './token-server.js';

export interface DockerRegistryOptions {
  /** Basic authentication with this user. Wants htpasswd. */
  readonly htpasswd?: { readonly user: string; readonly password: string };
  /** Bearer tokens from a token server that is started with it. Wants openssl. */
  readonly token?: TokenOptions;
  /** HTTPS with a certificate for 127.0.0.1 and localhost from an authority made for it. Wants openssl. */
  readonly tls?: boolean;
  /** Names of the certificate instead of those. */
  readonly tlsNames?: readonly string[];
  /** Takes only clients with a certificate of that authority; needs `tls`. */
  readonly clientCa?: boolean;
  /** Refuses every change (405 UNSUPPORTED). */
  readonly readOnly?: boolean;
  /** Storage of an earlier registry, which is then kept at the end. A new one is made and removed otherwise. */
  readonly storage?: string;
  /** Takes back deletions; true by default. */
  readonly delete?: boolean;
  /** Settings by `REGISTRY_…` variables. */
  readonly env?: Readonly<Record<string, string>>;
  /** Takes layers with http and https `urls`; true by default, although the program's own default is false. */
  readonly layerUrls?: boolean;
  /** Answers with locations without host; false by default, as the program's own default is. */
  readonly relativeUrls?: boolean;
}

export interface DockerRegistry {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  /** Its storage (`docker/registry/v2/…` is below). */
  readonly dir: string;
  /** The certificate authority's file, where `tls` was asked for. */
  readonly ca: string | undefined;
  /** A client's certificate and key, where `clientCa` was asked for. */
  readonly client: KeyPair | undefined;
  /** What was asked of the token server so far. */
  readonly tokenRequests: readonly TokenRequest[];
  /** Its log so far: one JSON object a line. */
  log(): string;
  /** Ends it and removes what it stored. */
  stop(): Promise<void>;
}

/**
 * Starts Debian's docker-registry (distribution 2.8) on a free port of 127.0.0.1. Deletion is allowed, and foreign layers with http
 * and https `urls` are taken. It does not take manifests by a sha512 digest, nor an index whose children are not there.
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

  // YAML takes JSON as it is.
  writeFileSync(join(work, 'config.yml'), JSON.stringify(config));
  const daemon = await startDaemon(peerPath('docker-registry'), ['serve', join(work, 'config.yml')], {
    log: join(work, 'log'),
    ready: (log) => /listening on (127\.0\.0\.1:\d+)/.exec(log)?.[1],
    env: { OTEL_TRACES_EXPORTER: 'none', ...options.env },
  });
  return {
    host: daemon.answer,
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
