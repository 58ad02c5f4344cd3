import { readFileSync } from 'node:fs';

/** Set in built files (`.config/bundle.js`). */
declare const AIRLIFT_VERSION: string | undefined;

/** Returns the version of this program. */
export function version(): string {
  if (typeof AIRLIFT_VERSION !== 'undefined') return AIRLIFT_VERSION;
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
