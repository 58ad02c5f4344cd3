import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { AirliftError, messageOf } from '../errors.js';
import type { ServerCertificate } from '../registry-server/call.js';

/** The files of a certificate. */
export interface CertificateFiles {
  /** Path of the certificate and its chain, in PEM. */
  readonly cert: string;
  /** Path of the private key, in PEM, without a passphrase. */
  readonly key: string;
}

/** A certificate for serving, and what clients must know about it. */
export interface OpenedCertificate extends ServerCertificate {
  /** Names and addresses that the certificate is valid for; without wildcards. */
  readonly names: readonly string[];
  /** The authority that issued it, in PEM, if the file contains it; a self-signed certificate is its own authority. */
  readonly authority: string | undefined;
}

async function readPem(path: string, what: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new AirliftError('io', `read ${what} ${path}: ${messageOf(cause)}`, { cause });
  }
}

function chainOf(pem: string, path: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  try {
    const chain = blocks.map((block) => new X509Certificate(block));
    if (chain.length > 0) return chain;
  } catch (cause) {
    throw new AirliftError('input', `read certificate ${path}: ${messageOf(cause)}`, { cause });
  }
  throw new AirliftError('input', `read certificate ${path}: contains no certificate in PEM format`);
}

/** The message of a failed parse may quote the file, so it is left out. */
function keyOf(pem: string, path: string): KeyObject {
  const isEncrypted = /-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m.test(pem);
  if (isEncrypted) {
    throw new AirliftError('input', `read private key ${path}: encrypted with a passphrase`, {
      hint: `decrypt it: openssl pkey -in ${path} -out KEY`,
    });
  }
  try {
    return createPrivateKey(pem);
  } catch {
    throw new AirliftError('input', `read private key ${path}: contains no private key in PEM format`);
  }
}

function namesOf({ subjectAltName = '' }: X509Certificate): string[] {
  return [...subjectAltName.matchAll(/(?:DNS|IP Address):([^,\s"]+)/g)]
    .map(([, name = '']) => name)
    .filter((name) => !name.includes('*') && (isIP(name) > 0 || /^[a-z0-9.-]+$/i.test(name)));
}

/** Reports whether a certificate is signed by its own key: the end of a chain. */
function isRoot(certificate: X509Certificate): boolean {
  return certificate.checkIssued(certificate) && certificate.verify(certificate.publicKey);
}

/**
 * Reads a certificate and its key.
 * @throws AirliftError `io`; `input` where a file has another format, the key does not belong to the certificate, or it has expired
 */
export async function openCertificate({ cert, key }: CertificateFiles): Promise<OpenedCertificate> {
  const pem = { cert: await readPem(cert, 'certificate'), key: await readPem(key, 'private key') };
  const chain = chainOf(pem.cert, cert);
  const [first] = chain as [X509Certificate, ...X509Certificate[]];
  if (!first.checkPrivateKey(keyOf(pem.key, key))) {
    throw new AirliftError('input', `read private key ${key}: does not belong to the certificate ${cert}`, {
      hint:
        'the file of the certificate must begin with the certificate of the server, followed by its chain; compare: ' +
        `openssl x509 -noout -pubkey -in ${cert}; openssl pkey -pubout -in ${key}`,
    });
  }
  if (new Date(first.validTo).getTime() < Date.now()) {
    throw new AirliftError('input', `read certificate ${cert}: expired on ${first.validTo}`, {
      hint: 'every client would refuse it: get a new one from your authority',
    });
  }
  return { ...pem, names: namesOf(first), authority: chain.find(isRoot)?.toString() };
}
