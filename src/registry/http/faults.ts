import type { DetailedPeerCertificate, TLSSocket } from 'node:tls';
import { AirliftError, messageOf, systemCodeOf } from '../../errors.js';

const descriptions: Readonly<Record<string, (host: string) => string>> = {
  ECONNREFUSED: (host) => `connection refused by ${host}`,
  ENOTFOUND: (host) => `host not found: ${host}`,
  EAI_AGAIN: (host) => `host name cannot be resolved at the moment: ${host}`,
  EHOSTUNREACH: (host) => `no route to ${host}`,
  ENETUNREACH: (host) => `no route to ${host}`,
  ETIMEDOUT: (host) => `connection to ${host} timed out`,
  UND_ERR_CONNECT_TIMEOUT: (host) => `connection to ${host} timed out`,
  UND_ERR_HEADERS_TIMEOUT: (host) => `${host} did not respond in time`,
  AIRLIFT_SLOW_RESPONSE: (host) => `${host} sends its response too slowly`,
  UND_ERR_BODY_TIMEOUT: (host) => `${host} stopped sending in the middle of a response`,
  ECONNRESET: (host) => `connection to ${host} broke`,
  EPIPE: (host) => `connection to ${host} broke`,
  UND_ERR_SOCKET: (host) => `connection to ${host} broke`,
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: (host) => `${host} ended its response early`,
  UND_ERR_RES_EXCEEDED_MAX_SIZE: (host) => `${host} sent too large a response`,
  UND_ERR_HEADERS_OVERFLOW: (host) => `${host} sent too large response headers`,
};

const unreachable: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
  'ETIMEDOUT',
]);

/** OpenSSL's error codes for a server that does not use TLS. */
const notTls: ReadonlySet<string> = new Set([
  'EPROTO',
  'ERR_SSL_WRONG_VERSION_NUMBER',
  'ERR_SSL_PACKET_LENGTH_TOO_LONG',
  'ERR_SSL_HTTP_REQUEST',
]);

function reasonOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'reason' in error ? error.reason : undefined;
}

function isNotTls(error: unknown): boolean {
  const code = systemCodeOf(error);
  if (code === undefined || !notTls.has(code)) return false;
  if (code !== 'EPROTO') return true;
  const reason = reasonOf(error);
  return reason === undefined || reason === 'wrong version number' || reason === 'packet length too long';
}

/** TLS alerts of a server with an internal problem, and errors for records changed on the way (RFC 8446 section 6.2). */
const transientTls =
  /alert (internal error|user cancel|unexpected message|bad record mac|decode error|decrypt error)|bad record mac|unexpected eof/;

/** Whether TLS failed for a reason that another connection may not meet. */
function isTransientTls(error: unknown): boolean {
  const code = systemCodeOf(error) ?? '';
  if (code !== 'EPROTO' && !code.startsWith('ERR_SSL_')) return false;
  const reason = reasonOf(error) ?? code;
  return transientTls.test(String(reason).toLowerCase().replaceAll('_', ' '));
}

/** Makes the error for a connection that was not open in time. */
export function connectTimeoutError(): Error {
  return Object.assign(new Error('connect timeout'), { code: 'UND_ERR_CONNECT_TIMEOUT' });
}

/** Whether no connection was made at all, so that the host may not exist. */
export function isUnreachable(error: AirliftError): boolean {
  return error.code === 'network' && unreachable.has(systemCodeOf(error.cause) ?? '');
}

/**
 * Converts an error of the network to an AirliftError: `tls` for certificates and handshakes, `network` for everything else.
 * @param action the attempted action, such as `resolve ghcr.io/acme/api:2.1`
 */
export function networkError(error: unknown, action: string, url: URL): AirliftError {
  const host = url.host;
  if (error instanceof AirliftError) {
    return new AirliftError(error.code, `${action}: ${error.message}`, {
      hint: error.hint,
      cause: error.cause ?? error,
      status: error.status,
    });
  }
  const code = systemCodeOf(error) ?? '';
  if (url.protocol === 'https:' && isNotTls(error)) {
    return new AirliftError('tls', `${action}: ${host} does not use TLS`, {
      cause: error,
      hint: 'for a registry without TLS pass `plainHttp: true`',
    });
  }
  if (/CERTIFICATE_REQUIRED|ALERT_BAD_CERTIFICATE|HANDSHAKE_FAILURE|ALERT_UNKNOWN_CA/.test(code)) {
    return new AirliftError(
      'tls',
      `${action}: ${host} requires a client certificate or rejects the given one`,
      {
        cause: error,
        hint: `put client.cert and client.key into /etc/docker/certs.d/${host}, or pass \`certDir\``,
      },
    );
  }
  if (isTransientTls(error)) {
    return new AirliftError('network', `${action}: TLS connection to ${host} broke: ${messageOf(error)}`, {
      cause: error,
    });
  }
  if (code.startsWith('ERR_SSL_') || code.startsWith('ERR_TLS_') || code === 'EPROTO') {
    return new AirliftError('tls', `${action}: TLS handshake with ${host} failed: ${messageOf(error)}`, {
      cause: error,
    });
  }
  if (code.startsWith('HPE_')) {
    return new AirliftError('network', `${action}: ${host} sent a response that is not HTTP`, {
      cause: error,
      hint: url.protocol === 'http:' ? 'for a registry with TLS pass `plainHttp: false`' : undefined,
    });
  }
  const happened = descriptions[code]?.(host) ?? `connection to ${host} failed: ${messageOf(error)}`;
  return new AirliftError('network', `${action}: ${happened}`, { cause: error });
}

function nameOf(name: DetailedPeerCertificate['subject'] | undefined): string {
  const part = (value: string | string[] | undefined): string | undefined =>
    Array.isArray(value) ? value.join(', ') : value;
  const text = part(name?.CN) ?? part(name?.O) ?? part(name?.OU) ?? 'without a name';
  return JSON.stringify(text.replace(/[\u0000-\u001f\u007f]/g, '?').slice(0, 200));
}

/** Returns the certificates that a host presented, its own first. */
function chainOf(socket: TLSSocket): DetailedPeerCertificate[] {
  const chain: DetailedPeerCertificate[] = [];
  let next: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
  while (next?.fingerprint256 !== undefined && chain.length < 10) {
    if (chain.some((seen) => seen.fingerprint256 === next?.fingerprint256)) break;
    chain.push(next);
    next = next.issuerCertificate;
  }
  return chain;
}

function namesOf(certificate: DetailedPeerCertificate | undefined): string {
  return (certificate?.subjectaltname ?? 'none').replaceAll(/(?:DNS|IP Address):/g, '').slice(0, 400);
}

const skipHint = 'to skip the verification pass `insecureSkipTlsVerify`';

/**
 * Makes the error for a certificate that failed verification (validity and path: RFC 5280 section 6; names: RFC 9525 section 6). It names
 * the certificate, its issuer and its host names, and the hint says which option helps.
 */
export function certificateError(socket: TLSSocket, host: string): AirliftError {
  const error: unknown = socket.authorizationError;
  const code = typeof error === 'string' ? error : messageOf(error);
  const chain = chainOf(socket);
  const [own] = chain;
  const top = chain.at(-1);
  const subject = nameOf(own?.subject);
  const issuer = nameOf(own?.issuer);
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID') {
    const isExpired = code === 'CERT_HAS_EXPIRED';
    const invalid =
      chain.find((each) =>
        isExpired ? Date.parse(each.valid_to) < Date.now() : Date.parse(each.valid_from) > Date.now(),
      ) ?? own;
    const when = isExpired ? `expired on ${invalid?.valid_to}` : `is not valid before ${invalid?.valid_from}`;
    return new AirliftError(
      'tls',
      `certificate ${nameOf(invalid?.subject)} of ${host}, issued by ${nameOf(invalid?.issuer)}, ${when}; this machine's clock says ${new Date().toUTCString()}`,
      { hint: `if this clock is right, the registry needs a new certificate; ${skipHint}` },
    );
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID' || /altnames/i.test(code)) {
    return new AirliftError(
      'tls',
      `certificate ${subject} of ${host}, issued by ${issuer}, is for other names; got ${namesOf(own)}, want ${host.replace(/:\d+$/, '')}`,
      { hint: `use one of the certificate's names, or have a certificate issued for this name; ${skipHint}` },
    );
  }
  const isSelfSigned = code === 'DEPTH_ZERO_SELF_SIGNED_CERT';
  const authority = isSelfSigned
    ? subject
    : code === 'SELF_SIGNED_CERT_IN_CHAIN'
      ? nameOf(top?.subject)
      : nameOf(top?.issuer);
  const isUntrusted = isSelfSigned || /^(?:SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_)/.test(code);
  const happened = isSelfSigned
    ? 'is self-signed and not trusted'
    : isUntrusted
      ? `is signed by the untrusted authority ${authority}`
      : `is not trusted (${code})`;
  return new AirliftError(
    'tls',
    `certificate ${subject} of ${host}, issued by ${issuer} for ${namesOf(own)}, ${happened}; sha256 fingerprint ${own?.fingerprint256 ?? 'unknown'}`,
    {
      hint: isUntrusted
        ? `pass the certificate of ${authority} as a PEM file with \`caFile\`, or put it at /etc/docker/certs.d/${host}/ca.crt`
        : skipHint,
    },
  );
}
