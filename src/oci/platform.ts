import { AirliftError } from '../errors.js';

/** The platform of an image (OCI image-spec, image-index.md, `platform`), normalised as in containerd. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string | undefined;
  readonly osVersion?: string | undefined;
  readonly osFeatures?: readonly string[] | undefined;
}

const token = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

// Maps, not objects: a hostile config may name the architecture `constructor`.
const osNames: ReadonlyMap<string, string> = new Map([['macos', 'darwin']]);
/**
 * Names of architectures in configs, file names and image names, as the kernel, Debian, Docker Hub and others use them, with their Go
 * names, the only ones allowed in an index (OCI image-spec, image-index.md, `platform.architecture`).
 */
export const architectureWords: ReadonlyMap<string, readonly [architecture: string, variant?: string]> =
  new Map(
    Object.entries<readonly [string, string?]>({
      i386: ['386'],
      i486: ['386'],
      i586: ['386'],
      i686: ['386'],
      x64: ['amd64'],
      x86_64: ['amd64'],
      'x86-64': ['amd64'],
      aarch64: ['arm64'],
      aarch64_be: ['arm64be'],
      arm64v8: ['arm64'],
      armv8: ['arm64'],
      armhf: ['arm', 'v7'],
      armhfp: ['arm', 'v7'],
      armel: ['arm', 'v6'],
      armv5: ['arm', 'v5'],
      armv5l: ['arm', 'v5'],
      armv5tel: ['arm', 'v5'],
      armv6: ['arm', 'v6'],
      armv6l: ['arm', 'v6'],
      armv6hf: ['arm', 'v6'],
      armv7: ['arm', 'v7'],
      armv7a: ['arm', 'v7'],
      armv7l: ['arm', 'v7'],
      armv7hf: ['arm', 'v7'],
      armv7hl: ['arm', 'v7'],
      armv8l: ['arm', 'v8'],
      arm32v5: ['arm', 'v5'],
      arm32v6: ['arm', 'v6'],
      arm32v7: ['arm', 'v7'],
      loongarch64: ['loong64'],
      mipsel: ['mipsle'],
      mips64el: ['mips64le'],
      powerpc: ['ppc'],
      powerpc64: ['ppc64'],
      powerpc64le: ['ppc64le'],
      ppc64el: ['ppc64le'],
      wasm32: ['wasm'],
    }),
  );
export const knownArchitectures: ReadonlySet<string> = new Set(
  (
    '386 amd64 arm arm64 arm64be armbe loong64 mips mips64 mips64le mipsle ppc ppc64 ppc64le riscv32 riscv64 s390 s390x sparc ' +
    'sparc64 wasm'
  ).split(' '),
);

function normaliseVariant(architecture: string, variant: string | undefined): string | undefined {
  const plain = variant?.toLowerCase() ?? '';
  const named = /^\d$/.test(plain) ? `v${plain}` : plain;
  if (architecture === 'arm64') return named === '' || named === 'v8' ? undefined : named;
  if (architecture === 'arm') return named === '' ? 'v7' : named;
  if (architecture === 'amd64') return named === '' || named === 'v1' ? undefined : named;
  return named === '' ? undefined : named;
}

/** Normalises a platform as containerd does: `arm64/v8` is `arm64`, `arm` is `arm/v7`, `x86_64` is `amd64`. */
export function normalisePlatform(platform: Platform): Platform {
  const os = platform.os.toLowerCase();
  const architecture = platform.architecture.toLowerCase();
  const [normal, implied] = architectureWords.get(architecture) ?? [architecture];
  return {
    os: osNames.get(os) ?? os,
    architecture: normal,
    variant: normaliseVariant(
      normal,
      platform.variant === undefined || platform.variant === '' ? implied : platform.variant,
    ),
    osVersion: platform.osVersion === '' ? undefined : platform.osVersion,
    osFeatures:
      platform.osFeatures !== undefined && platform.osFeatures.length > 0 ? platform.osFeatures : undefined,
  };
}

/**
 * Parses and normalises the `platform` object of a descriptor, or the same fields of an image config.
 * @param what the document, for messages
 * @throws AirliftError `input` if a field has the wrong type
 */
export function decodePlatform(value: unknown, what: string): Platform {
  const fields = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  const text = (name: string): string | undefined => {
    const field = fields[name];
    if (field === undefined || field === null) return undefined;
    if (typeof field === 'string' && field.length <= 255) return field;
    throw new AirliftError('input', `parse ${what}: platform field ${name} is not a string`);
  };
  const features = fields['os.features'];
  return normalisePlatform({
    os: text('os') ?? '',
    architecture: text('architecture') ?? '',
    variant: text('variant'),
    osVersion: text('os.version'),
    osFeatures: Array.isArray(features)
      ? features.filter((item): item is string => typeof item === 'string' && item.length <= 255).slice(0, 64)
      : undefined,
  });
}

/**
 * Parses a platform that a user typed: `os/architecture[/variant]`, `os(version)/architecture`, or only an architecture, which means
 * Linux.
 * @throws AirliftError `usage` if it is none of these
 */
export function parsePlatform(text: string): Platform {
  const bad = (): never => {
    throw new AirliftError('usage', `parse platform ${JSON.stringify(text)}: not os/architecture[/variant]`, {
      hint: 'write it like linux/amd64 or linux/arm/v7',
    });
  };
  const match = /^([^/()]+)(?:\(([^()/]*)\))?(?:\/([^/]+))?(?:\/([^/]+))?$/.exec(text.trim());
  if (match === null) return bad();
  const [, first = '', osVersion, architecture, variant] = match;
  for (const part of [first, architecture, variant])
    if (part !== undefined && !token.test(part)) return bad();
  if (architecture === undefined) {
    const normal = normalisePlatform({ os: 'linux', architecture: first });
    return knownArchitectures.has(normal.architecture) ? normal : bad();
  }
  return normalisePlatform({ os: first, architecture, variant, osVersion });
}

/** Formats a platform as containerd does: `os/architecture[/variant]`, or `os(version)/architecture[/variant]`. */
export function formatPlatform(platform: Platform): string {
  const os = platform.osVersion === undefined ? platform.os : `${platform.os}(${platform.osVersion})`;
  return [os, platform.architecture, platform.variant].filter((part) => part !== undefined).join('/');
}

/** Reports whether a platform is `unknown/unknown`, which marks children that are not runnable, such as attestations. */
export function isUnknown(platform: Platform): boolean {
  return platform.os === 'unknown' && platform.architecture === 'unknown';
}

/** Reports whether `have` equals `want`. A `want` without OS version matches every OS version. */
export function samePlatform(want: Platform, have: Platform): boolean {
  return (
    want.os === have.os &&
    want.architecture === have.architecture &&
    want.variant === have.variant &&
    (want.osVersion === undefined || want.osVersion === have.osVersion)
  );
}

/** Returns the lesser variants that a machine of `platform` also runs, best first (arm/v7: v6, v5; amd64/v3: v2, v1). */
function lesserVariants(platform: Platform): (string | undefined)[] {
  const level = Number(/^v(\d)$/.exec(platform.variant ?? '')?.[1] ?? 0);
  const lesser = [];
  if (platform.architecture === 'arm') for (let n = level - 1; n >= 5; n--) lesser.push(`v${n}`);
  if (platform.architecture === 'amd64')
    for (let n = level - 1; n >= 1; n--) lesser.push(n === 1 ? undefined : `v${n}`);
  return lesser;
}

/**
 * Returns the entries that a machine of platform `want` runs by containerd's rules: exact matches or, if there are none, those of
 * the best lesser variant.
 */
export function matchPlatform<T extends { readonly platform?: Platform | undefined }>(
  want: Platform,
  entries: readonly T[],
): T[] {
  for (const variant of [want.variant, ...lesserVariants(want)]) {
    const found = entries.filter(
      (entry) => entry.platform !== undefined && samePlatform({ ...want, variant }, entry.platform),
    );
    if (found.length > 0) return found;
  }
  return [];
}
