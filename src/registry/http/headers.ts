/** What carries header fields, by their names in lower case. */
export interface HasHeaders {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

/** The value of a header; several of one name are joined as RFC 9110 section 5.3 says. */
export function headerOf(answer: HasHeaders, name: string): string | undefined {
  const value = answer.headers[name];
  return Array.isArray(value) ? value.join(', ') : value;
}

/** `Content-Length` (RFC 9110 section 8.6) as a number, where there is a valid one. */
export function lengthOf(answer: HasHeaders): number | undefined {
  const text = headerOf(answer, 'content-length') ?? '';
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

/** The Basic form of a user name and password (RFC 7617). */
export function basicAuthorization(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`, 'utf8').toString('base64')}`;
}

/**
 * Milliseconds that a `Retry-After` header asks to wait, in seconds or as a date (RFC 9110 section 10.2.3), or undefined where
 * there is none or it can't be read.
 */
export function parseRetryAfter(header: string | undefined, now: number): number | undefined {
  const text = header?.trim() ?? '';
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  if (!/^[A-Za-z]/.test(text)) return undefined;
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/** One way to authenticate that a registry offers (RFC 9110 section 11.6.1). */
export interface Challenge {
  /** In lower case: `basic`, `bearer`, … */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: Readonly<Record<string, string>>;
}

const maxChallengesLength = 16 * 1024;
const token = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const challengeParameter = /([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s",]*))/y;
const separators = /[ \t,]*/y;
const spaces = /[ \t]*/y;
const token68 = /[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))/y;

/**
 * Reads the challenges of a `WWW-Authenticate` header: several may stand in one header, and each may have several parameters,
 * both parted by commas (RFC 9110 section 11.6.1; the Bearer form: RFC 6750 section 3). What can't be read ends the list.
 */
export function parseChallenges(header: string): Challenge[] {
  const text = header.slice(0, maxChallengesLength);
  const challenges: Challenge[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match === null) return undefined;
    at = pattern.lastIndex;
    return match;
  };
  while (at < text.length) {
    take(separators);
    const scheme = take(token)?.[0];
    if (scheme === undefined) break;
    const parameters: Record<string, string> = Object.create(null) as Record<string, string>;
    take(spaces);
    if (take(token68) === undefined) {
      for (;;) {
        const before = at;
        take(separators);
        const match = take(challengeParameter);
        if (match === undefined) {
          at = before;
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

/** One link of a `Link` header. */
export interface Link {
  /** As it is written: an address, relative or absolute. */
  readonly target: string;
  /** Relations in lower case; none where the link names none. */
  readonly relations: readonly string[];
}

/** `; name=value`, the value a token or a string in quotes. Some registries write single quotes. */
const linkParameter = /\s*;\s*([^\s=;,]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\s;,"']*)))?/y;

/**
 * Reads a `Link` header (RFC 8288 section 3), and the forms that registries send in its place: targets without angle brackets,
 * relations without quotes or in single ones, empty links between commas.
 * @returns undefined where the header is malformed
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
      const [whole = '', name = '', quoted, single, token] = linkParameter.exec(header) ?? [];
      if (whole === '') break;
      at += whole.length;
      if (name.toLowerCase() === 'rel')
        relations.push(...(quoted ?? single ?? token ?? '').toLowerCase().split(/\s+/).filter(Boolean));
    }
    const rest = /\s*;?\s*(?:,|$)/y;
    rest.lastIndex = at;
    if (!rest.test(header)) return undefined;
    at = rest.lastIndex;
    links.push({ target: (match[1] ?? match[2] ?? '').trim(), relations });
  }
  return links;
}
