import { basename } from 'node:path';
import { normalisePlatform, type Platform } from '../oci/platform.js';

/** What file names call architectures: the names of Go and OCI, of Debian, of the kernel, of k3s's and others' releases. */
const names: Readonly<Record<string, readonly [architecture: string, variant?: string]>> = {
  amd64: ['amd64'],
  x64: ['amd64'],
  x86_64: ['amd64'],
  'x86-64': ['amd64'],
  arm64: ['arm64'],
  arm64v8: ['arm64'],
  aarch64: ['arm64'],
  arm: ['arm'],
  armhf: ['arm', 'v7'],
  armel: ['arm', 'v6'],
  armv5: ['arm', 'v5'],
  armv5l: ['arm', 'v5'],
  armv6: ['arm', 'v6'],
  armv6l: ['arm', 'v6'],
  armv7: ['arm', 'v7'],
  armv7l: ['arm', 'v7'],
  arm32v5: ['arm', 'v5'],
  arm32v6: ['arm', 'v6'],
  arm32v7: ['arm', 'v7'],
  '386': ['386'],
  i386: ['386'],
  i686: ['386'],
  ppc64le: ['ppc64le'],
  ppc64el: ['ppc64le'],
  s390x: ['s390x'],
  riscv64: ['riscv64'],
  loong64: ['loong64'],
  loongarch64: ['loong64'],
  mips64le: ['mips64le'],
  mips64el: ['mips64le'],
};

const pattern = new RegExp(
  `(?<![a-z0-9])(${Object.keys(names)
    .sort((a, b) => b.length - a.length)
    .join('|')})(?:[-_/]?(v[5-8]))?(?![a-z0-9])`,
  'g',
);

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
    const [architecture, implied] = names[word] as readonly [string, string?];
    const variant = level ?? implied;
    const os = /(?<![a-z0-9])windows(?![a-z0-9])/i.test(basename(path)) ? 'windows' : 'linux';
    const platform = normalisePlatform({ os, architecture, variant });
    found.set(`${architecture}/${variant}`, { platform, hasVariant: variant !== undefined, word });
  }
  const [only] = found.values();
  return found.size === 1 ? only : undefined;
}
