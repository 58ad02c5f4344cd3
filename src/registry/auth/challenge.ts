/** One way to authenticate that a registry offers (RFC 9110 section 11.6.1). */
export interface Challenge {
  /** In lower case: `basic`, `bearer`, … */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: Readonly<Record<string, string>>;
}

const maxLength = 16 * 1024;
const token = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const parameter = /([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s",]*))/y;
const separators = /[ \t,]*/y;
const spaces = /[ \t]*/y;
const token68 = /[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))/y;

/**
 * Reads the challenges of a `WWW-Authenticate` header: several may stand in one header, and each may have several parameters,
 * both parted by commas (RFC 9110 section 11.6.1; the Bearer form: RFC 6750 section 3). What can't be read ends the list.
 */
export function parseChallenges(header: string): Challenge[] {
  const text = header.slice(0, maxLength);
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
        const match = take(parameter);
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
