import type { DetailedPeerCertificate, TLSSocket } from 'node:tls';
import { AirliftError, messageOf } from '../../errors.js';

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

const skipHint = 'to go on without checking, pass --insecure-skip-tls-verify';

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
        ? `pass the certificate of ${authority} as a PEM file: --ca-file FILE, or put it at /etc/docker/certs.d/${host}/ca.crt`
        : skipHint,
    },
  );
}
