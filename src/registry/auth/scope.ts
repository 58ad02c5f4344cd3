export type Action = 'pull' | 'push';

/**
 * What a token allows: actions by resource, such as `repository:library/busybox` (distribution, "Token Scope Documentation").
 */
export type Scopes = ReadonlyMap<string, ReadonlySet<string>>;

/** The scope of actions on one repository. */
export function repositoryScope(repository: string, ...actions: Action[]): Scopes {
  return new Map([[`repository:${repository}`, new Set<string>(actions)]]);
}

/** Everything that any of `scopes` allows, merged by resource. */
export function mergeScopes(...scopes: Scopes[]): Scopes {
  const merged = new Map<string, Set<string>>();
  for (const scope of scopes) {
    for (const [resource, actions] of scope) {
      const all = merged.get(resource) ?? new Set();
      for (const action of actions) all.add(action);
      merged.set(resource, all);
    }
  }
  return merged;
}

/** Whether `have` allows all that `want` asks for. */
export function covers(have: Scopes, want: Scopes): boolean {
  for (const [resource, actions] of want) {
    const allowed = have.get(resource);
    if (allowed === undefined) return false;
    if (!allowed.has('*')) for (const action of actions) if (!allowed.has(action)) return false;
  }
  return true;
}

/** Reads the `scope` of a challenge: scopes parted by spaces, each `type:name:action,action`; names may hold colons. */
export function parseScopes(text: string): Scopes {
  const found: Scopes[] = [];
  for (const part of text.split(' ').slice(0, 64)) {
    const end = part.lastIndexOf(':');
    if (end <= part.indexOf(':')) continue;
    found.push(new Map([[part.slice(0, end), new Set(part.slice(end + 1).split(','))]]));
  }
  return mergeScopes(...found);
}

/** One text for each resource, as token servers read it, always in the same order. */
export function formatScopes(scopes: Scopes): string[] {
  return [...scopes].map(([resource, actions]) => `${resource}:${[...actions].sort().join(',')}`).sort();
}
