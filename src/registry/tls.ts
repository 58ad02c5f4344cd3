import { readFileSync } from 'node:fs';
import { createSecureContext, rootCertificates, type SecureContext, type TLSSocket } from 'node:tls';
import { AirliftError, messageOf } from '../errors.js';

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

function readPem(path: string, what: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new AirliftError('io', `read ${what} ${path}: ${messageOf(cause)}`, { cause });
  }
  if (!text.includes('-----BEGIN')) {
    throw new AirliftError('input', `read ${what} ${path}: not a PEM file`, {
      hint: `convert it: openssl x509 -inform der -in ${path} -out ca.pem`,
    });
  }
  return text;
}

function trusted(): string[] {
  for (const path of systemRoots) {
    try {
      return [readFileSync(path, 'utf8')];
    } catch {
      continue;
    }
  }
  return [...rootCertificates];
}

/**
 * Makes a finder of TLS settings by host. What it reads, it reads once.
 * @throws AirliftError `io` or `input`, when called, where a file can't be read
 */
export function tlsSettings(options: {
  readonly caFile?: string | undefined;
  readonly insecureSkipTlsVerify?: boolean | undefined;
}): (host: string) => TlsSettings {
  let settings: TlsSettings | undefined;
  return () => {
    settings ??= {
      context: createSecureContext({
        ca: [...trusted(), ...(options.caFile === undefined ? [] : [readPem(options.caFile, 'CA file')])],
      }),
      insecure: options.insecureSkipTlsVerify === true,
    };
    return settings;
  };
}

/** What is wrong with the certificate of a connection that was not authorized, in words. */
export function certificateFault(socket: TLSSocket, host: string): AirliftError {
  const error: unknown = socket.authorizationError;
  const reason = typeof error === 'string' ? error : messageOf(error);
  const certificate = socket.getPeerCertificate();
  const subject = certificate.subject?.CN ?? 'without a name';
  const issuer = certificate.issuer?.CN ?? certificate.issuer?.O ?? 'unknown';
  return new AirliftError(
    'tls',
    `certificate of ${host} is not trusted (${reason}); subject ${subject}, issuer ${issuer}, names ${certificate.subjectaltname ?? 'none'}`,
    { hint: 'pass --ca-file with the PEM file of its certificate authority' },
  );
}
