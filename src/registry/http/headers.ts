/** A message with header fields, by their names in lower case. */
export interface HasHeaders {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

/** Returns the value of a header; repeated fields are joined (RFC 9110 section 5.3). */
export function headerOf(message: HasHeaders, name: string): string | undefined {
  const value = message.headers[name];
  return Array.isArray(value) ? value.join(', ') : value;
}

/** Returns `Content-Length` (RFC 9110 section 8.6), or undefined if it is missing or invalid. */
export function lengthOf(message: HasHeaders): number | undefined {
  const text = headerOf(message, 'content-length') ?? '';
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

/** Formats a user name and password for Basic authentication (RFC 7617). */
export function basicAuthorization(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`, 'utf8').toString('base64')}`;
}

/**
 * Parses a `Retry-After` header, in seconds or as a date (RFC 9110 section 10.2.3).
 * @returns the milliseconds to wait, or undefined if the header is missing or invalid
 */
export function parseRetryAfter(header: string | undefined, now: number): number | undefined {
  const text = header?.trim() ?? '';
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  if (!/^[A-Za-z]/.test(text)) return undefined;
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/** A way to authenticate that a registry offers (RFC 9110 section 11.6.1). */
export interface Challenge {
  /** In lower case: `basic`, `bearer`, … */
  readonly scheme: string;
  /** By names in lower case. */
  readonly parameters: Readonly<Record<string, string>>;
}

const maxChallengesLength = 16 * 1024;
const token = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const challengeParameter = /([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s",]*))/y;
const separators = /[ \t,]*/y;
const spaces = /[ \t]*/y;
const token68 = /[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))/y;

/**
 * Parses the challenges of a `WWW-Authenticate` header. A header may have several challenges and each may have several parameters, both
 * separated by commas (RFC 9110 section 11.6.1; the Bearer form: RFC 6750 section 3). Parsing stops at malformed text.
 */
export function parseChallenges(header: string): Challenge[] {
  const text = header.slice(0, maxChallengesLength);
  const challenges: Challenge[] = [];
  let at = 0;
  const consume = (pattern: RegExp): RegExpExecArray | undefined => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match === null) return undefined;
    at = pattern.lastIndex;
    return match;
  };
  while (at < text.length) {
    consume(separators);
    const scheme = consume(token)?.[0];
    if (scheme === undefined) break;
    const parameters: Record<string, string> = Object.create(null) as Record<string, string>;
    consume(spaces);
    if (consume(token68) === undefined) {
      for (;;) {
        const start = at;
        consume(separators);
        const match = consume(challengeParameter);
        if (match === undefined) {
          at = start;
          break;
        }
        const [, name = '', quoted, plain = ''] = match;
        parameters[name.toLowerCase()] = quoted === undefined ? plain : quoted.replace(/\\(.)/g, '$1');
      }
    }
    challenges.push({ scheme: scheme.toLowerCase(), parameters });
  }
  return challenges;
}

/** A link of a `Link` header. */
export interface Link {
  /** The address as sent, relative or absolute. */
  readonly target: string;
  /** Relations in lower case; empty if the link has none. */
  readonly relations: readonly string[];
}

// No library: those for `Link` reject forms that registries send.
/** Matches `; name=value`, where the value is a token or a quoted string. Some registries use single quotes. */
const linkParameter = /\s*;\s*([^\s=;,]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\s;,"']*)))?/y;

/**
 * Parses a `Link` header (RFC 8288 section 3), including forms that registries send although the RFC forbids them: targets without angle
 * brackets, relations in single quotes, empty links between commas.
 * @returns undefined if the header is malformed
 */
export function parseLinks(header: string): Link[] | undefined {
  const links: Link[] = [];
  for (let at = 0; at < header.length;) {
    const gap = /[\s,]*/y;
    gap.lastIndex = at;
    at += gap.exec(header)?.[0].length ?? 0;
    if (at >= header.length) break;
    const target = /<([^<>]*)>|([^\s<>;,"]+)/y;
    target.lastIndex = at;
    const match = target.exec(header);
    if (match === null) return undefined;
    at = target.lastIndex;
    const relations: string[] = [];
    for (;;) {
      linkParameter.lastIndex = at;
      const [whole = '', name = '', quoted, single, plain] = linkParameter.exec(header) ?? [];
      if (whole === '') break;
      at += whole.length;
      if (name.toLowerCase() === 'rel')
        relations.push(...(quoted ?? single ?? plain ?? '').toLowerCase().split(/\s+/).filter(Boolean));
    }
    // White space in one place each: two in a row would take quadratic time on a header that is full of it.
    const rest = /\s*(?:;\s*)?(?:,|$)/y;
    rest.lastIndex = at;
    if (!rest.test(header)) return undefined;
    at = rest.lastIndex;
    links.push({ target: (match[1] ?? match[2] ?? '').trim(), relations });
  }
  return links;
}
