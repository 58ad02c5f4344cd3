import { X509Certificate } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  createSecureContext,
  rootCertificates,
  type SecureContext,
  type SecureContextOptions,
} from 'node:tls';
import { AirliftError, isMissingPath, messageOf, systemCodeOf } from '../../errors.js';
import type { HostSettings, TlsOptions } from './options.js';

/** TLS settings for one host. */
export interface TlsSettings {
  readonly context: SecureContext;
  /** Skip the verification of the certificate. */
  readonly insecure: boolean;
}

/** Usual paths of a system's trusted certificate authorities; the first that exists is used. */
const systemRoots = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/** Reads certificates or a key in PEM form (RFC 7468). */
function readPem(path: string, what: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new AirliftError('io', `read ${what} ${path}: ${messageOf(cause)}`, { cause });
  }
  if (text.includes('-----BEGIN')) return text;
  throw new AirliftError('input', `read ${what} ${path}: not a PEM file`, {
    hint: `convert the file: openssl x509 -inform der -in ${path} -out ca.pem`,
  });
}

/** Reads certificate authorities and checks each one: Node ignores those it cannot parse. */
function readAuthorities(path: string): string {
  const what = 'certificate authority';
  const pem = readPem(path, what);
  try {
    for (const [certificate] of pem.matchAll(/-----BEGIN ([A-Z ]*CERTIFICATE)-----.*?-----END \1-----/gs))
      new X509Certificate(certificate);
  } catch (cause) {
    throw new AirliftError('input', `read ${what} ${path}: ${messageOf(cause)}`, { cause });
  }
  return pem;
}

function systemTrust(rootsFile: string | undefined): string[] {
  if (rootsFile !== undefined) return [readPem(rootsFile, 'root certificates')];
  const found = systemRoots.find((path) => existsSync(path));
  return found === undefined ? [...rootCertificates] : [readPem(found, 'root certificates')];
}

interface Files {
  readonly ca: readonly string[];
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

/**
 * Finds the certificates in a directory like docker's `certs.d/HOST`: `*.crt` are certificate authorities, `NAME.cert` and `NAME.key`
 * are a client certificate and its key.
 * @throws AirliftError `io`; `input` if a client certificate has no key or a key has no certificate
 */
function readCertificateDirectory(path: string, isDefaultPlace: boolean): Files | undefined {
  let names: string[];
  try {
    names = readdirSync(path).sort();
  } catch (cause) {
    if (isMissingPath(cause)) return undefined;
    // Only root may read the directory: if it is needed, the error for the untrusted certificate says so.
    const code = systemCodeOf(cause);
    if (isDefaultPlace && (code === 'EACCES' || code === 'EPERM')) return undefined;
    throw new AirliftError('io', `read certificates in ${path}: ${messageOf(cause)}`, { cause });
  }
  const ca = names.filter((name) => name.endsWith('.crt')).map((name) => join(path, name));
  const certificate = names.find((name) => name.endsWith('.cert'));
  if (certificate === undefined) {
    const key = names.find((name) => name.endsWith('.key'));
    if (key !== undefined)
      throw new AirliftError('input', `read certificates in ${path}: no client certificate for ${key}`, {
        hint: `add ${key.replace(/\.key$/, '.cert')} to the directory (*.crt files are certificate authorities)`,
      });
    return { ca, cert: undefined, key: undefined };
  }
  const key = certificate.replace(/\.cert$/, '.key');
  if (!names.includes(key))
    throw new AirliftError(
      'input',
      `read certificates in ${path}: no key for the client certificate ${certificate}`,
      {
        hint: `add ${key} to the directory`,
      },
    );
  return { ca, cert: join(path, certificate), key: join(path, key) };
}

/** Finds the TLS settings for each host in the options, in `certs.d` directories and in the settings for single hosts. */
export class TlsConfig {
  readonly #settings = new Map<string, TlsSettings>();
  readonly #insecure = new Set<string>();
  #trusted: string[] | undefined;

  constructor(
    readonly options: TlsOptions,
    readonly hosts: Readonly<Record<string, HostSettings>>,
  ) {}

  /** Whether certificates are configured for a host, which means that the host uses TLS. */
  isConfigured(host: string): boolean {
    const { certsDirs = [] } = this.options;
    const own = this.hosts[host];
    return (
      own?.caFile !== undefined ||
      own?.certFile !== undefined ||
      certsDirs.some((directory) => existsSync(join(directory, host)))
    );
  }

  /** Accepts any certificate of a host from now on. */
  skipVerification(host: string): void {
    this.#insecure.add(host);
  }

  /**
   * Returns the settings for `host[:port]`.
   * @throws AirliftError `io` or `input` if one of the files cannot be read
   */
  settingsFor(host: string): TlsSettings {
    let settings = this.#settings.get(host);
    if (settings === undefined) {
      settings = this.#read(host);
      this.#settings.set(host, settings);
    }
    return this.#insecure.has(host) ? { ...settings, insecure: true } : settings;
  }

  #read(host: string): TlsSettings {
    const { options } = this;
    const own = this.hosts[host] ?? {};
    this.#trusted ??= systemTrust(options.rootsFile);
    const directories = [
      ...(options.certDir === undefined ? [] : [options.certDir]),
      ...(options.certsDirs ?? []).map((directory) => join(directory, host)),
    ];
    let files: Files | undefined;
    for (const directory of directories)
      files ??= readCertificateDirectory(directory, directory !== options.certDir);
    const authorities = [options.caFile, own.caFile, ...(files?.ca ?? [])].filter(
      (path) => path !== undefined,
    );
    const cert = own.certFile ?? files?.cert;
    const key = own.certFile === undefined ? files?.key : own.keyFile;
    const secure: SecureContextOptions = {
      ca: [...this.#trusted, ...authorities.map(readAuthorities)],
    };
    if (cert !== undefined) secure.cert = readPem(cert, 'client certificate');
    if (key !== undefined) secure.key = readPem(key, 'client key');
    try {
      return {
        context: createSecureContext(secure),
        insecure: options.insecureSkipTlsVerify === true || own.insecureSkipTlsVerify === true,
      };
    } catch (cause) {
      const used = [...authorities, cert, key].filter((path) => path !== undefined).join(', ');
      throw new AirliftError('input', `load certificates for ${host} from ${used}: ${messageOf(cause)}`, {
        cause,
      });
    }
  }
}
