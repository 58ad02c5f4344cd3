import { X509Certificate } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  createSecureContext,
  rootCertificates,
  type SecureContext,
  type SecureContextOptions,
} from 'node:tls';
import { AirliftError, messageOf, systemCodeOf } from '../../errors.js';
import type { HostSettings, TlsOptions } from './options.js';

/** How TLS is done with one host. */
export interface TlsSettings {
  readonly context: SecureContext;
  /** Take any certificate. */
  readonly insecure: boolean;
}

/** Where systems keep the certificate authorities they trust, in the order in which they are looked for. */
const systemRoots = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/** A file of certificates or a key in text (RFC 7468). */
function readPem(path: string, what: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new AirliftError('io', `read ${what} ${path}: ${messageOf(cause)}`, { cause });
  }
  if (text.includes('-----BEGIN')) return text;
  throw new AirliftError('input', `read ${what} ${path}: not a PEM file`, {
    hint: `convert it: openssl x509 -inform der -in ${path} -out ca.pem`,
  });
}

/** Authorities that a person named. Node would pass over what it can't read. */
function readAuthorities(path: string): string {
  const what = 'certificate authority';
  const pem = readPem(path, what);
  try {
    for (const [one] of pem.matchAll(/-----BEGIN ([A-Z ]*CERTIFICATE)-----.*?-----END \1-----/gs))
      new X509Certificate(one);
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
 * What a directory in the manner of docker's `certs.d/HOST` holds: `*.crt` are authorities, `NAME.cert` and `NAME.key` are a
 * client's certificate and key.
 * @throws AirliftError `io`; `input` where a key or a certificate is missing
 */
function readCertificateDirectory(path: string, isUsualPlace: boolean): Files | undefined {
  let names: string[];
  try {
    names = readdirSync(path).sort();
  } catch (cause) {
    const code = systemCodeOf(cause);
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    // Closed to this user, as root's is: whoever needs it sees that a certificate is not trusted.
    if (isUsualPlace && (code === 'EACCES' || code === 'EPERM')) return undefined;
    throw new AirliftError('io', `read certificates in ${path}: ${messageOf(cause)}`, { cause });
  }
  const ca = names.filter((name) => name.endsWith('.crt')).map((name) => join(path, name));
  const certificate = names.find((name) => name.endsWith('.cert'));
  if (certificate === undefined) {
    const key = names.find((name) => name.endsWith('.key'));
    if (key !== undefined)
      throw new AirliftError('input', `read certificates in ${path}: ${key} has no certificate beside it`, {
        hint: `put it there as ${key.replace(/\.key$/, '.cert')} (*.crt are authorities)`,
      });
    return { ca, cert: undefined, key: undefined };
  }
  const key = certificate.replace(/\.cert$/, '.key');
  if (!names.includes(key))
    throw new AirliftError('input', `read certificates in ${path}: ${certificate} has no key beside it`, {
      hint: `put it there as ${key}`,
    });
  return { ca, cert: join(path, certificate), key: join(path, key) };
}

/** Finds how TLS is done with each host, from flags, from `certs.d` directories and from settings for single hosts. */
export class TlsBook {
  readonly #settings = new Map<string, TlsSettings>();
  readonly #insecure = new Set<string>();
  #trusted: string[] | undefined;

  constructor(
    readonly options: TlsOptions,
    readonly hosts: Readonly<Record<string, HostSettings>>,
  ) {}

  /** Whether anything says that a host is reached over TLS. */
  mentions(host: string): boolean {
    const { certsDirs = [] } = this.options;
    const own = this.hosts[host];
    return (
      own?.caFile !== undefined ||
      own?.certFile !== undefined ||
      certsDirs.some((directory) => existsSync(join(directory, host)))
    );
  }

  /** From now on any certificate of a host does. */
  takeAny(host: string): void {
    this.#insecure.add(host);
  }

  /**
   * The settings for a host, with port where it has one.
   * @throws AirliftError `io` or `input` where one of the files can't be read
   */
  of(host: string): TlsSettings {
    let found = this.#settings.get(host);
    if (found === undefined) {
      found = this.#read(host);
      this.#settings.set(host, found);
    }
    return this.#insecure.has(host) ? { ...found, insecure: true } : found;
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
