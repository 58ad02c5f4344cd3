import { firstLines } from '../errors.js';
import type { DeltaBase } from '../index.js';

/** The most bases to name. */
const maxBases = 20;

/** Names what a delta was made against. A bundle is recognized by its digest, which `verify` prints. */
function describeBase({ kind, registry, time, digest }: DeltaBase): string {
  if (kind === 'bundle') return `a bundle of ${time} (SHA256SUMS digest ${digest})`;
  if (kind === 'sent') return `a record of what was sent, of ${time}`;
  return `a receipt of ${registry ?? 'a registry'} of ${time}`;
}

/** Formats what a delta was made against, and so where the layers are that it leaves out. */
export function baseLines(bases: readonly DeltaBase[]): string[] {
  const shown = bases.slice(0, maxBases).map((base) => `  made against ${describeBase(base)}`);
  return firstLines(shown, maxBases, bases.length);
}
