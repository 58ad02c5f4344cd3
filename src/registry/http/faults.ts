import type { DetailedPeerCertificate, TLSSocket } from 'node:tls';
import { AirliftError, messageOf, systemCodeOf } from '../../errors.js';

const happenings: Readonly<Record<string, (host: string) => string>> = {
  ECONNREFUSED: (host) => `connection refused by ${host}`,
  ENOTFOUND: (host) => `host not found: ${host}`,
  EAI_AGAIN: (host) => `name of host can't be looked up now: ${host}`,
  EHOSTUNREACH: (host) => `no route to ${host}`,
  ENETUNREACH: (host) => `no route to ${host}`,
  ETIMEDOUT: (host) => `no connection to ${host} in time`,
  UND_ERR_CONNECT_TIMEOUT: (host) => `no connection to ${host} in time`,
  UND_ERR_HEADERS_TIMEOUT: (host) => `${host} did not answer in time`,
  AIRLIFT_SLOW_ANSWER: (host) => `${host} sends its answer too slowly`,
  UND_ERR_BODY_TIMEOUT: (host) => `${host} stopped sending in the middle`,
  ECONNRESET: (host) => `connection to ${host} broke`,
  EPIPE: (host) => `connection to ${host} broke`,
  UND_ERR_SOCKET: (host) => `connection to ${host} broke`,
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: (host) => `${host} ended its answer early`,
  UND_ERR_RES_EXCEEDED_MAX_SIZE: (host) => `${host} answered with too much`,
  UND_ERR_HEADERS_OVERFLOW: (host) => `${host} answered with too large headers`,
};

const unreachable: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
  'ETIMEDOUT',
]);

/** Codes by which OpenSSL says that the other end does not speak TLS. */
const notTls: ReadonlySet<string> = new Set([
  'EPROTO',
  'ERR_SSL_WRONG_VERSION_NUMBER',
  'ERR_SSL_PACKET_LENGTH_TOO_LONG',
  'ERR_SSL_HTTP_REQUEST',
]);

function isNotTls(error: unknown): boolean {
  const code = systemCodeOf(error);
  if (code === undefined || !notTls.has(code)) return false;
  if (code !== 'EPROTO') return true;
  const reason = typeof error === 'object' && error !== null && 'reason' in error ? error.reason : undefined;
  return reason === undefined || reason === 'wrong version number' || reason === 'packet length too long';
}

/** Alerts of a server that is in trouble, and records that were changed on their way (RFC 8446 section 6.2). */
const brokenTls =
  /alert (internal error|user cancel|unexpected message|bad record mac|decode error|decrypt error)|bad record mac|unexpected eof/;

/** Whether TLS ended for a reason that another connection may not meet. */
function isBrokenTls(error: unknown): boolean {
  const code = systemCodeOf(error) ?? '';
  if (code !== 'EPROTO' && !code.startsWith('ERR_SSL_')) return false;
  const reason = typeof error === 'object' && error !== null && 'reason' in error ? error.reason : code;
  return brokenTls.test(String(reason).toLowerCase().replaceAll('_', ' '));
}

/** Whether no connection was made at all, so that the host may simply not be there. */
export function isUnreachable(error: AirliftError): boolean {
  return error.code === 'network' && unreachable.has(systemCodeOf(error.cause) ?? '');
}

/**
 * Turns what the network threw into an AirliftError: `tls` for certificates and handshakes, `network` for all else.
 * @param doing what was attempted, e.g. `resolve ghcr.io/acme/api:2.1`
 */
export function faultOf(error: unknown, doing: string, url: URL): AirliftError {
  const host = url.host;
  if (error instanceof AirliftError) {
    return new AirliftError(error.code, `${doing}: ${error.message}`, {
      hint: error.hint,
      cause: error.cause ?? error,
      status: error.status,
    });
  }
  const code = systemCodeOf(error) ?? '';
  if (url.protocol === 'https:' && isNotTls(error)) {
    return new AirliftError('tls', `${doing}: ${host} does not speak TLS`, {
      cause: error,
      hint: 'if it is a registry without TLS, pass `plainHttp: true`',
    });
  }
  if (/CERTIFICATE_REQUIRED|ALERT_BAD_CERTIFICATE|HANDSHAKE_FAILURE|ALERT_UNKNOWN_CA/.test(code)) {
    return new AirliftError('tls', `${doing}: ${host} does not accept the client certificate, or wants one`, {
      cause: error,
      hint: `put client.cert and client.key into /etc/docker/certs.d/${host}, or pass \`certDir\``,
    });
  }
  if (isBrokenTls(error)) {
    return new AirliftError('network', `${doing}: ${host} broke TLS off: ${messageOf(error)}`, {
      cause: error,
    });
  }
  if (code.startsWith('ERR_SSL_') || code.startsWith('ERR_TLS_') || code === 'EPROTO') {
    return new AirliftError('tls', `${doing}: TLS handshake with ${host} failed: ${messageOf(error)}`, {
      cause: error,
    });
  }
  if (code.startsWith('HPE_')) {
    return new AirliftError('network', `${doing}: ${host} does not answer in HTTP`, {
      cause: error,
      hint: url.protocol === 'http:' ? 'if it speaks TLS, pass `plainHttp: false`' : undefined,
    });
  }
  const happened = happenings[code]?.(host) ?? `connection to ${host} failed: ${messageOf(error)}`;
  return new AirliftError('network', `${doing}: ${happened}`, { cause: error });
}

function nameOf(name: DetailedPeerCertificate['subject'] | undefined): string {
  const part = (value: string | string[] | undefined): string | undefined =>
    Array.isArray(value) ? value.join(', ') : value;
  const text = part(name?.CN) ?? part(name?.O) ?? part(name?.OU) ?? 'without a name';
  return JSON.stringify(text.replace(/[\u0000-\u001f\u007f]/g, '?').slice(0, 200));
}

/** The certificates that a host showed, its own first. */
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

const skipHint = 'to go on without checking, pass `insecureSkipTlsVerify`';

/**
 * What is wrong with the certificate of a connection that was not authorized (its time and its path, RFC 5280 section 6; its
 * names, RFC 9525 section 6): which certificate, who issued it, for which names, and what to pass.
 */
export function certificateFault(socket: TLSSocket, host: string): AirliftError {
  const error: unknown = socket.authorizationError;
  const code = typeof error === 'string' ? error : messageOf(error);
  const chain = chainOf(socket);
  const [own] = chain;
  const top = chain.at(-1);
  const subject = nameOf(own?.subject);
  const issuer = nameOf(own?.issuer);
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID') {
    const isOver = code === 'CERT_HAS_EXPIRED';
    const bad =
      chain.find((each) =>
        isOver ? Date.parse(each.valid_to) < Date.now() : Date.parse(each.valid_from) > Date.now(),
      ) ?? own;
    const when = isOver ? `expired on ${bad?.valid_to}` : `is not valid before ${bad?.valid_from}`;
    return new AirliftError(
      'tls',
      `certificate ${nameOf(bad?.subject)} of ${host}, issued by ${nameOf(bad?.issuer)}, ${when}; it is ${new Date().toUTCString()} here`,
      { hint: `if the clock here is right, the registry needs a new certificate; ${skipHint}` },
    );
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID' || /altnames/i.test(code)) {
    return new AirliftError(
      'tls',
      `certificate ${subject} of ${host}, issued by ${issuer}, is for other names; got ${namesOf(own)}, want ${host.replace(/:\d+$/, '')}`,
      { hint: `use one of its names, or have it issued for this one; ${skipHint}` },
    );
  }
  const isSelfSigned = code === 'DEPTH_ZERO_SELF_SIGNED_CERT';
  const authority = isSelfSigned
    ? subject
    : code === 'SELF_SIGNED_CERT_IN_CHAIN'
      ? nameOf(top?.subject)
      : nameOf(top?.issuer);
  const isUnknown = isSelfSigned || /^(?:SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_)/.test(code);
  const happened = isSelfSigned
    ? 'is signed by itself and not trusted here'
    : isUnknown
      ? `comes from an authority that is not trusted here, ${authority}`
      : `is not trusted (${code})`;
  return new AirliftError(
    'tls',
    `certificate ${subject} of ${host}, issued by ${issuer} for ${namesOf(own)}, ${happened}; sha256 fingerprint ${own?.fingerprint256 ?? 'unknown'}`,
    {
      hint: isUnknown
        ? `pass the certificate of ${authority} as a PEM file: \`caFile\` FILE, or put it at /etc/docker/certs.d/${host}/ca.crt`
        : skipHint,
    },
  );
}
