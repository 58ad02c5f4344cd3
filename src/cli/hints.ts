import { AirliftError } from '../errors.js';
import type {
  ArchiveOptions,
  CopyOptions,
  CreateIndexOptions,
  ExportOptions,
  FailedImage,
  ImportOptions,
  InventoryOptions,
  IndexSource,
  KeylessIdentity,
  KitImageOptions,
  KitOptions,
  LoadOptions,
  MergeBundlesOptions,
  ProgressEvent,
  RegistryOptions,
  RepairOptions,
  SaveOptions,
  SplitByImageOptions,
  SplitOptions,
  ServeOptions,
  SignOptions,
  Site,
  VerifyOptions,
} from '../index.js';

/** Options that texts of the library may name. Archive options have the prefix `archives.`. */
type LibraryOption =
  | `archives.${keyof ArchiveOptions}`
  | keyof ExportOptions
  | keyof ImportOptions
  | keyof CopyOptions
  | keyof InventoryOptions
  | keyof SaveOptions
  | keyof RepairOptions
  | keyof VerifyOptions
  | keyof KeylessIdentity
  | keyof LoadOptions
  | keyof MergeBundlesOptions
  | keyof ServeOptions
  | keyof SignOptions
  | keyof Site
  | keyof RegistryOptions
  | keyof CreateIndexOptions
  | keyof IndexSource
  | keyof KitOptions
  | keyof KitImageOptions
  | keyof SplitOptions
  | keyof SplitByImageOptions
  // Not options: a function, and an argument of `emitNodeFiles`.
  | 'siteNames'
  | 'earlier';

/** The flag for each option that a text of the library names. */
export const flagOf = {
  'archives.manifestFormat': '--manifest-format',
  'archives.mergeNames': '--merge-names',
  'archives.name': '--name',
  'archives.platforms': '--arch',
  'archives.strictPlatforms': '--strict-platforms',
  address: '--address',
  annotations: '--annotation',
  archTags: '--arch-tags',
  askVolume: '--volume-wait',
  atomic: '--atomic',
  authFiles: '--authfile',
  base: '--base',
  bundles: '--bundle',
  caFile: '--ca-file',
  certDir: '--cert-dir',
  chunkSize: '--chunk-size',
  cluster: '--cluster',
  deep: '--deep',
  delta: '--delta',
  earlier: '--emit',
  engine: '--into',
  force: '--force',
  foreignLayers: '--foreign-layers',
  format: '--format',
  from: '--from',
  identity: '--certificate-identity',
  identityRegexp: '--certificate-identity-regexp',
  imageNames: '--images',
  images: '--image',
  indexOnly: '--index-only',
  insecureSkipTlsVerify: '--insecure-skip-tls-verify',
  issuer: '--certificate-oidc-issuer',
  issuerRegexp: '--certificate-oidc-issuer-regexp',
  keepGoing: '--keep-going',
  keepRegistry: '--keep-registry',
  keys: '--key',
  mirrors: '--mirror',
  name: '--name',
  onExistingTag: '--on-existing-tag',
  originalIndex: '--index',
  output: '--output',
  partSize: '--part-size',
  plainHttp: '--plain-http',
  passwordFile: '--htpasswd',
  platform: '--platform',
  platforms: '--platform',
  port: '--listen',
  quick: '--quick',
  refresh: '--refresh',
  request: '--request',
  rules: '--rename',
  sent: '--sent',
  siteNames: '--dry-run',
  skipMissingPlatforms: '--skip-missing-platforms',
  sums: '--sums',
  tags: '--tag',
  tls: '--tls-cert',
  tmpDir: '--tmp-dir',
  trustedRoot: '--trusted-root',
  trustedRootFromBundle: '--trusted-root-from-bundle',
  toFolder: '--to-folder',
  volumeDirs: '--volume-dir',
  volumeSize: '--volume-size',
} as const satisfies Partial<Record<LibraryOption, `--${string}`>>;

/** An option in backticks, alone or with a value: `force`, `plainHttp: false`, `onExistingTag: 'skip'`. */
export const optionInText = /`([\w.]+)(?:: (?:(true|false)|'([\w-]+)'))?`/g;

function isOption(name: string): name is keyof typeof flagOf {
  return Object.hasOwn(flagOf, name);
}

/** Replaces the options in a text of the library by the flags that set them; other text stays as it is. */
export function withFlags(text: string): string {
  return text.replace(optionInText, (all: string, name: string, claim?: string, value?: string) => {
    if (!isOption(name)) return all;
    const flag = flagOf[name];
    if (claim === 'false') return flag.replace('--', '--no-');
    return value === undefined ? flag : `${flag} ${value}`;
  });
}

/** Replaces the options in the texts of an error by flags. */
export function errorWithFlags<T>(error: T): T | AirliftError {
  if (!(error instanceof AirliftError)) return error;
  const { code, status, reason, cause, hint } = error;
  const [message = '', ...lines] = error.lines.map(withFlags);
  return new AirliftError(code, message, {
    lines,
    status,
    reason,
    cause,
    hint: hint === undefined ? undefined : withFlags(hint),
  });
}

/** Replaces the options in a message and its hint by flags; other fields stay as they are. */
function messageWithFlags<T extends { readonly message: string; readonly hint?: string | undefined }>(
  holder: T,
): T {
  const { message, hint } = holder;
  return {
    ...holder,
    message: withFlags(message),
    ...(hint === undefined ? {} : { hint: withFlags(hint) }),
  };
}

/** Replaces the options in the reasons of failures by flags. */
export function failuresWithFlags(failed: readonly FailedImage[]): FailedImage[] {
  return failed.map(({ image, error }) => ({ image, error: messageWithFlags(error) }));
}

/** Replaces the options in the texts of an event by flags. */
export function eventWithFlags(event: ProgressEvent): ProgressEvent {
  return event.event === 'warning' || event.event === 'image-failed' ? messageWithFlags(event) : event;
}
