/** One link of a `Link` header. */
export interface Link {
  /** As it is written: an address, relative or absolute. */
  readonly target: string;
  /** Relations in lower case; none where the link names none. */
  readonly relations: readonly string[];
}

/** `; name=value`, the value a token or a string in quotes. Some registries write single quotes. */
const parameter = /\s*;\s*([^\s=;,]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\s;,"']*)))?/y;

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
      parameter.lastIndex = at;
      const [whole = '', name = '', quoted, single, token] = parameter.exec(header) ?? [];
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
