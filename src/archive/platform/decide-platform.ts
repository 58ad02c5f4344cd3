import { basename } from 'node:path';
import { runsOn } from './elf.js';
import type { ProgramEvidence } from './program.js';
import { platformFields, type Json } from '../../oci/index-child.js';
import {
  architectureWords,
  formatPlatform,
  knownArchitectures,
  normalisePlatform,
  type Platform,
} from '../../oci/platform.js';

/** Words in file names that name an architecture. `wasm` and the like describe the content, not the machine. */
const words = [...knownArchitectures, ...architectureWords.keys()].filter((word) => !word.startsWith('wasm'));

const anyWord = words.sort((a, b) => b.length - a.length).join('|');
const pattern = new RegExp(`(?<![a-z0-9])(${anyWord})(?:[-_/]?(v[5-8]))?(?![a-z0-9])`, 'g');

/** A regular expression, without groups, for an architecture in an image's name: `arm64`, `arm-v7`, `arm64v8`, `linux-amd64`. */
export const architecturePattern = `(?:(?:linux|windows)[-_.])?(?:arm64[-_.]?v[89]|arm[-_.]?v[5-8]|${anyWord})`;

/** A platform that a name states, and whether it states the variant. */
export interface NamedPlatform {
  readonly platform: Platform;
  readonly hasVariant: boolean;
  /** The word in the name. */
  readonly word: string;
}

/** Returns the platform in a file's name (`k3s-airgap-images-armhf.tar.gz`); undefined where it states none, or several. */
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

/** Claims about an image's platform, most trusted first. */
export interface PlatformClaims {
  /** Stated by the user: `--arch`. */
  readonly flag: Platform | undefined;
  /** The index that names the image. */
  readonly entry: Platform | undefined;
  /** The config's platform, and the config's own fields for it. */
  readonly config: { readonly platform: Platform; readonly fields: Json } | undefined;
  /** The architecture in the image's name, if a name rule removes it. */
  readonly imageName?: NamedPlatform | undefined;
  readonly fileName: NamedPlatform | undefined;
}

/** The decision about an image's platform. */
export interface PlatformFinding {
  readonly platform: Platform;
  /** The platform as written into an index. */
  readonly fields: Json;
  /** Whether the user stated it (`--arch`). */
  readonly isForced: boolean;
  /** Whether the index entry of the image states the same platform. */
  readonly agreesWithEntry: boolean;
  /** Whether the config states the same platform. */
  readonly agreesWithConfig: boolean;
  /** The contradiction: `config says linux/amd64, executables are arm`; undefined where there is none. */
  readonly contradiction: string | undefined;
}

/** Reports whether a machine of `platform` runs the started program or, if that is unknown, any of the programs. */
function runs({ architecture }: Platform, program: ProgramEvidence): boolean {
  return program.architectures.some((made) => runsOn(architecture, made));
}

const armLevel = (variant: string | undefined): number => Number(/^v(\d)$/.exec(variant ?? '')?.[1] ?? 7);

/** Reports whether the program needs a later arm variant than `platform`. */
function needsMore(platform: Platform, program: ProgramEvidence): boolean {
  return (
    platform.architecture === 'arm' &&
    program.architectures[0] === 'arm' &&
    program.variant !== undefined &&
    armLevel(program.variant) > armLevel(platform.variant)
  );
}

function same(a: Platform, b: Platform): boolean {
  return a.os === b.os && a.architecture === b.architecture && a.variant === b.variant;
}

/** How messages name a platform that the caller gives. */
const callerOption = '`archives.platforms`';

interface Claim {
  readonly who: string;
  readonly platform: Platform;
  readonly fields: Json;
  readonly says: string;
}

function claimsInOrder(claims: PlatformClaims): Claim[] {
  const list: Claim[] = [];
  const add = (who: string, platform: Platform | undefined, fields?: Json): void => {
    if (platform === undefined) return;
    const says = `${who} says ${formatPlatform(platform)}`;
    list.push({ who, platform, fields: fields ?? platformFields(platform), says });
  };
  add(callerOption, claims.flag);
  add('index entry', claims.entry);
  add('config', claims.config?.platform, claims.config?.fields);
  for (const [who, named] of [
    ['image name', claims.imageName],
    ['file name', claims.fileName],
  ] as const) {
    if (named === undefined) continue;
    const { platform, word } = named;
    list.push({ who, platform, fields: platformFields(platform), says: `${who} says ${word}` });
  }
  return list;
}

/** Takes the variant from the image's or the file's name if the config names arm without one. */
function withNamedVariant(claim: Claim, { imageName, fileName }: PlatformClaims): Claim {
  const isOpen =
    claim.who === 'config' && claim.platform.architecture === 'arm' && !('variant' in claim.fields);
  const named = [imageName, fileName].find(
    (name) => name?.hasVariant === true && name.platform.architecture === 'arm',
  );
  if (!isOpen || named === undefined) return claim;
  const platform = { ...claim.platform, variant: named.platform.variant };
  return { ...claim, platform, fields: platformFields(platform) };
}

/** Returns the architecture that several claims agree on; undefined where they differ or the user stated one. */
function agreed([first, ...others]: readonly Claim[]): string | undefined {
  const architecture = first?.who === callerOption ? undefined : first?.platform.architecture;
  const isSame = others.every(({ platform }) => platform.architecture === architecture);
  return others.length > 0 && isSame ? architecture : undefined;
}

/** Returns the architecture that several claims agree on; undefined where they differ or the user stated one. */
export function agreedArchitecture(claims: PlatformClaims): string | undefined {
  return agreed(claimsInOrder(claims));
}

/**
 * Chooses a claim: `--arch`, else the index entry if the programs run on it, else the first claim that names exactly their architecture,
 * else the first on which they run. Claims that agree win over unstarted programs, which an image may contain without running them, and
 * over a single started program that differs from the others, because that may be a mistake.
 */
function chosen(list: readonly Claim[], program: ProgramEvidence | undefined): Claim | undefined {
  const [first] = list;
  if (first === undefined || first.who === callerOption || program === undefined) return first;
  const architecture = agreed(list);
  const { isStarted, others } = program;
  if (architecture !== undefined && (!isStarted || (others !== undefined && runsOn(architecture, others))))
    return first;
  const fitting = list.filter(({ platform }) => runs(platform, program));
  const isExact = ({ platform }: Claim): boolean => program.architectures.includes(platform.architecture);
  return fitting.find(({ who }) => who === 'index entry') ?? fitting.find(isExact) ?? fitting[0];
}

/**
 * Decides an image's platform: `--arch`, else the first claim, in the order of `PlatformClaims`, on which the image's programs run, else
 * the platform of the programs.
 * @returns undefined where there is neither a claim nor a program
 */
export function decidePlatform(
  claims: PlatformClaims,
  program: ProgramEvidence | undefined,
): PlatformFinding | undefined {
  const list = claimsInOrder(claims);
  const claim = chosen(list, program);
  const decided = claim === undefined ? byProgram(list, program) : withNamedVariant(claim, claims);
  if (decided === undefined) return undefined;
  const { platform, fields } = decided;
  return {
    platform,
    fields,
    isForced: claims.flag !== undefined,
    agreesWithEntry: claims.entry !== undefined && same(claims.entry, platform),
    agreesWithConfig: claims.config !== undefined && same(claims.config.platform, platform),
    contradiction: contradiction(list, platform, program),
  };
}

function byProgram(
  list: readonly Claim[],
  program: ProgramEvidence | undefined,
): Pick<Claim, 'platform' | 'fields'> | undefined {
  if (program === undefined) return undefined;
  const [first] = list;
  const platform = normalisePlatform({
    os: first?.platform.os ?? 'linux',
    architecture: program.architectures[0] ?? '',
  });
  return { platform, fields: platformFields(platform) };
}

function contradiction(
  list: readonly Claim[],
  platform: Platform,
  program: ProgramEvidence | undefined,
): string | undefined {
  const isWrong = (claim: Claim): boolean =>
    claim.platform.architecture !== platform.architecture ||
    (program !== undefined && !runs(claim.platform, program));
  const parts = list.filter(isWrong).map(({ says }) => says);
  if (program !== undefined && needsMore(platform, program))
    return [...parts, `executables need arm/${program.variant}`].join(', ');
  if (parts.length === 0) return undefined;
  if (program !== undefined)
    return [...parts, `executables are ${program.architectures.join(' and ')}`].join(', ');
  const others = list.filter((claim) => claim.platform.architecture === platform.architecture);
  return [...parts, ...others.slice(0, 1).map(({ says }) => says)].join(', ');
}
