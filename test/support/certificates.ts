import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './peers.js';

/** The paths of a PEM certificate and its private key. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

const newKey = ['-newkey', 'rsa:2048', '-nodes', '-sha256'];

/** Creates a certificate authority in `dir`. Requires openssl. */
export async function makeAuthority(dir: string, name = 'authority'): Promise<KeyPair> {
  const pair = { cert: join(dir, `${name}.pem`), key: join(dir, `${name}.key`) };
  await run('openssl', [
    ...['req', '-x509', ...newKey, '-days', '2', '-subj', `/CN=airlift test ${name}`],
    ...['-keyout', pair.key, '-out', pair.cert],
  ]);
  return pair;
}

/**
 * Creates a certificate for `names` (default: 127.0.0.1 and localhost), valid for servers and clients. Requires openssl.
 * @param names DNS names, and addresses in the form `IP:127.0.0.1`
 */
export async function issueCertificate(
  dir: string,
  authority: KeyPair,
  name: string,
  names: readonly string[] = ['IP:127.0.0.1', 'localhost'],
): Promise<KeyPair> {
  const pair = { cert: join(dir, `${name}.pem`), key: join(dir, `${name}.key`) };
  const request = join(dir, `${name}.csr`);
  const extensions = join(dir, `${name}.ext`);
  const alternatives = names.map((entry) => (entry.includes(':') ? entry : `DNS:${entry}`));
  await writeFile(
    extensions,
    `subjectAltName=${alternatives.join(',')}\nextendedKeyUsage=serverAuth,clientAuth\n`,
  );
  await run('openssl', ['req', ...newKey, '-subj', `/CN=${name}`, '-keyout', pair.key, '-out', request]);
  await run('openssl', [
    ...['x509', '-req', '-in', request, '-CA', authority.cert, '-CAkey', authority.key, '-days', '2'],
    ...['-extfile', extensions, '-out', pair.cert, '-set_serial', `0x${Buffer.from(name).toString('hex')}`],
  ]);
  return pair;
}
