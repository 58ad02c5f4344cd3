/** Reports whether a name matches. */
export type Glob = (name: string) => boolean;

/** What policy-controller reads for globs that do not name a registry. */
const shorthands: ReadonlyMap<string, string> = new Map([
  ['*', 'index.docker.io/library/*'],
  ['*/*', 'index.docker.io/*/*'],
]);

/**
 * Parses a glob of policy-controller: `*` is any text without `/`, and `**` any text. It matches whole names. Matching takes time linear
 * in the name and in the glob.
 * @returns why it is malformed, if so
 */
export function parseGlob(text: string): Glob | string {
  if (!/^[\w:/*.-]+$/.test(text)) return `malformed glob ${text}; want letters, digits and -_:/.*`;
  const tokens = (shorthands.get(text) ?? text).match(/\*\*|[^]/g) ?? [];
  return (name) => matchTokens(tokens, name);
}

function matchTokens(tokens: readonly string[], name: string): boolean {
  /** Numbers of tokens that the text so far may stop before. */
  let reached = new Set<number>();
  const reach = (from: number, into: Set<number>): void => {
    for (let at = from; !into.has(at); at++) {
      into.add(at);
      // A wildcard may be empty.
      if (tokens[at] !== '*' && tokens[at] !== '**') break;
    }
  };
  reach(0, reached);
  for (const character of name) {
    const next = new Set<number>();
    for (const at of reached) {
      const token = tokens[at];
      if (token === '**' || (token === '*' && character !== '/')) reach(at, next);
      else if (token === character) reach(at + 1, next);
    }
    if (next.size === 0) return false;
    reached = next;
  }
  return reached.has(tokens.length);
}
