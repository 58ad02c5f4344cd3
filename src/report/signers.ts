import type { ReportedImage } from './report.js';

/** Lists the ids of the given keys that signed an image, or its index before platforms were left out. A signature of one platform does not count. */
export function signersOf({ attached, digest, original }: ReportedImage): string[] {
  const own = attached.filter(({ subject }) => subject === digest || subject === original);
  const ids = own.flatMap(({ kind, signature }) =>
    kind === 'signature' && signature?.state === 'valid' ? [signature.keyId ?? ''] : [],
  );
  return [...new Set(ids)];
}
