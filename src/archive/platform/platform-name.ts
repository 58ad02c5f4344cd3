import { basename } from 'node:path';
import {
  architectureWords,
  knownArchitectures,
  normalisePlatform,
  type Platform,
} from '../../oci/platform.js';

/** Words in file names that tell an architecture. `wasm` and the like tell what a file is of, not what it runs on. */
const words = [...knownArchitectures, ...architectureWords.keys()].filter((word) => !word.startsWith('wasm'));

const anyWord = words.sort((a, b) => b.length - a.length).join('|');
const pattern = new RegExp(`(?<![a-z0-9])(${anyWord})(?:[-_/]?(v[5-8]))?(?![a-z0-9])`, 'g');

/** An architecture as it stands in an image's name: `arm64`, `arm-v7`, `arm64v8`, `linux-amd64`; a regular expression without groups. */
export const architecturePattern = `(?:(?:linux|windows)[-_.])?(?:arm64[-_.]?v[89]|arm[-_.]?v[5-8]|${anyWord})`;

/** A platform that a file's name tells, and whether it tells the variant too. */
export interface NamedPlatform {
  readonly platform: Platform;
  readonly hasVariant: boolean;
  /** The word that told it. */
  readonly word: string;
}

/** The platform in a file's name (`k3s-airgap-images-armhf.tar.gz`); undefined where it tells none, or several. */
export function platformOfFileName(path: string): NamedPlatform | undefined {
  const found = new Map<string, NamedPlatform>();
  for (const [, word = '', level] of basename(path).toLowerCase().matchAll(pattern)) {
    const [architecture, implied] = architectureWords.get(word) ?? [word];
    const variant = level ?? implied;
    const os = /(?<![a-z0-9])windows(?![a-z0-9])/i.test(basename(path)) ? 'windows' : 'linux';
    const platform = normalisePlatform({ os, architecture, variant });
    found.set(`${architecture}/${variant}`, { platform, hasVariant: variant !== undefined, word });
  }
  const [only] = found.values();
  return found.size === 1 ? only : undefined;
}
