import type { DeltaBase } from '../index.js';

/** Names what a delta was made against. A bundle is recognized by its digest, which `verify` prints. */
function describeBase({ kind, registry, time, digest }: DeltaBase): string {
  if (kind === 'bundle') return `a bundle of ${time} (SHA256SUMS digest ${digest})`;
  if (kind === 'sent') return `a record of what was sent, of ${time}`;
  return `a receipt of ${registry ?? 'a registry'} of ${time}`;
}

/** Formats what a delta was made against, and so where the layers are that it leaves out. */
export function baseLines(bases: readonly DeltaBase[]): string[] {
  return bases.map((base) => `  made against ${describeBase(base)}`);
}
