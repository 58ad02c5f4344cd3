import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Page } from './store-content.js';
import { ifPresent } from './store-files.js';

/** Returns the first entries after `page.after`, sorted by code unit. */
export function takePage<T extends string>(names: readonly T[], { after, limit }: Page): T[] {
  const left = after === undefined ? [...names] : names.filter((name) => name > after);
  return left.sort(compare).slice(0, limit);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Lists the names in a folder; none if it does not exist. */
export async function namesIn(folder: string): Promise<string[]> {
  return (await ifPresent(readdir(folder))) ?? [];
}

/**
 * Lists the repositories below a folder, ordered by path, beginning after `page.after`. Reads only the folders that the page needs: the
 * cost depends on the size of the page, not on the number of repositories.
 */
export async function listRepositories(root: string, page: Page): Promise<string[]> {
  const found: string[] = [];
  await walk(root, await namesIn(root), '', page, found);
  return found;
}

/** A folder has two places in the order: the repository itself (`a`) and everything below it (`a/`), with `a-b` and `a.b` in between. */
async function walk(
  folder: string,
  names: readonly string[],
  prefix: string,
  page: Page,
  found: string[],
): Promise<void> {
  const { after, limit } = page;
  const keys = names
    .filter((name) => !name.startsWith('_'))
    .flatMap((name) => [`${prefix}${name}`, `${prefix}${name}/`])
    .filter((key) => after === undefined || key > after || (key.endsWith('/') && after.startsWith(key)))
    .sort(compare);
  const read = new Map<string, string[]>();
  for (const key of keys) {
    if (found.length >= limit) return;
    const below = key.endsWith('/');
    const path = below ? key.slice(0, -1) : key;
    const child = join(folder, path.slice(prefix.length));
    const inside = read.get(path) ?? (await namesIn(child));
    if (below) {
      read.delete(path);
      await walk(child, inside, key, page, found);
    } else {
      read.set(path, inside);
      if (inside.includes('_manifests')) found.push(path);
    }
  }
}
