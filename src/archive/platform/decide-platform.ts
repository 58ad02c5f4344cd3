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

/** Who says what an image's platform is, most trusted first. */
export interface PlatformClaims {
  /** `--arch` */
  readonly flag: Platform | undefined;
  /** The index that names the image. */
  readonly entry: Platform | undefined;
  /** The config's platform, and its fields as they stand there. */
  readonly config: { readonly platform: Platform; readonly fields: Json } | undefined;
  /** What the architecture in the image's name tells, where a rule for names takes it out. */
  readonly imageName?: NamedPlatform | undefined;
  readonly fileName: NamedPlatform | undefined;
}

/** What was found out of an image's platform. */
export interface PlatformFinding {
  readonly platform: Platform;
  /** The platform as it is to be written into an index. */
  readonly fields: Json;
  /** Whether it is what `--arch` says. */
  readonly isForced: boolean;
  /** Whether the index that names the image says the same. */
  readonly agreesWithEntry: boolean;
  /** Whether the config says the same. */
  readonly agreesWithConfig: boolean;
  /** What contradicts: `config says linux/amd64, executables are arm`; undefined where nothing does. */
  readonly contradiction: string | undefined;
}

/** Whether a machine of `platform` runs the program that is started or, where it is not known, any of the programs. */
function runs({ architecture }: Platform, program: ProgramEvidence): boolean {
  return program.architectures.some((made) => runsOn(architecture, made));
}

const armLevel = (variant: string | undefined): number => Number(/^v(\d)$/.exec(variant ?? '')?.[1] ?? 7);

/** Whether programs need a later arm than `platform` says. */
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

/** A config that names arm without a variant leaves it to the image's name or the file's. */
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

/** The architecture that all claims name, where there are several and `--arch` is none of them. */
function agreed([first, ...others]: readonly Claim[]): string | undefined {
  const architecture = first?.who === callerOption ? undefined : first?.platform.architecture;
  const isSame = others.every(({ platform }) => platform.architecture === architecture);
  return others.length > 0 && isSame ? architecture : undefined;
}

/** As `agreed`, for whoever looks for programs. */
export function agreedArchitecture(claims: PlatformClaims): string | undefined {
  return agreed(claimsInOrder(claims));
}

/**
 * The claim that holds: `--arch`, else what the index says, where it fits; else the first claim that names the very architecture
 * of the programs; else the first that fits. Claims that agree hold where the program that is started is not known, for any
 * other may lie about in an image without being run; and where the others run there, for one program alone may be a mistake.
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
 * Decides what an image's platform is. What `--arch` says holds; else the first claim holds, in the order of `PlatformClaims`,
 * that fits what the image's programs are made for; where none fits, the programs do.
 * @returns undefined where nobody says anything
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
