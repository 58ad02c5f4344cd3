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
      hint: 'if it is a registry without TLS, pass --plain-http',
    });
  }
  if (/CERTIFICATE_REQUIRED|ALERT_BAD_CERTIFICATE|HANDSHAKE_FAILURE|ALERT_UNKNOWN_CA/.test(code)) {
    return new AirliftError('tls', `${doing}: ${host} does not accept the client certificate, or wants one`, {
      cause: error,
      hint: `put client.cert and client.key into /etc/docker/certs.d/${host}, or pass --cert-dir`,
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
      hint: url.protocol === 'http:' ? 'if it speaks TLS, pass --no-plain-http' : undefined,
    });
  }
  const happened = happenings[code]?.(host) ?? `connection to ${host} failed: ${messageOf(error)}`;
  return new AirliftError('network', `${doing}: ${happened}`, { cause: error });
}
