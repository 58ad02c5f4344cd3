export type Action = 'pull' | 'push';

/**
 * The permissions of a token: actions by resource, such as `repository:library/busybox` (distribution, "Token Scope Documentation").
 */
export type Scopes = ReadonlyMap<string, ReadonlySet<string>>;

/** Returns the scope for actions on one repository. */
export function repositoryScope(repository: string, ...actions: Action[]): Scopes {
  return new Map([[`repository:${repository}`, new Set<string>(actions)]]);
}

/** Merges scopes by resource: the result allows everything that any of them allows. */
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

/** Whether `granted` includes everything in `required`. */
export function covers(granted: Scopes, required: Scopes): boolean {
  for (const [resource, actions] of required) {
    const allowed = granted.get(resource);
    if (allowed === undefined) return false;
    if (!allowed.has('*')) for (const action of actions) if (!allowed.has(action)) return false;
  }
  return true;
}

/** Parses the `scope` of a challenge: scopes separated by spaces, each `type:name:action,action`; names may contain colons. */
export function parseScopes(text: string): Scopes {
  const found: Scopes[] = [];
  for (const part of text.split(' ').slice(0, 64)) {
    const end = part.lastIndexOf(':');
    if (end <= part.indexOf(':')) continue;
    found.push(new Map([[part.slice(0, end), new Set(part.slice(end + 1).split(','))]]));
  }
  return mergeScopes(...found);
}

/** Formats scopes as token services expect them, one text per resource in a stable order. */
export function formatScopes(scopes: Scopes): string[] {
  return [...scopes].map(([resource, actions]) => `${resource}:${[...actions].sort().join(',')}`).sort();
}
