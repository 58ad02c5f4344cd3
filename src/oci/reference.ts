import { isIP } from 'node:net';
import { AirliftError } from '../errors.js';
import { isDigest, type Digest } from './digest.js';
import { quoted } from './quoted.js';

/** A repository in a registry. */
export interface Repository {
  /** Host with optional port, e.g. `docker.io`, `127.0.0.1:5000`. */
  readonly registry: string;
  /** Path within the registry, e.g. `library/busybox`. */
  readonly repository: string;
}

/** `registry/repository[:tag][@digest]`, by the grammar of Docker's distribution/reference. */
export interface Reference extends Repository {
  readonly tag?: string | undefined;
  readonly digest?: Digest | undefined;
}

const domain =
  /^(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?$/;
const pathComponent = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;

/** The host names of Docker Hub. */
export const dockerHubNames: readonly string[] = ['docker.io', 'index.docker.io', 'registry-1.docker.io'];

/** Reports whether `text` is an image ID, as docker and containerd record it, and not a name. */
export function isImageId(text: string): boolean {
  return /^(?:(?:sha256:)?[0-9a-f]{64}|(?:sha512:)?[0-9a-f]{128})$/.test(text);
}

/** Reports whether `text` is a valid tag. */
export function isTag(text: string): boolean {
  return tagPattern.test(text);
}

/** Reports whether `text` is a host with optional port. */
export function isRegistry(text: string): boolean {
  // A host that is invalid in a URL cannot be reached: a port above 65535, an address out of range.
  return domain.test(text) && URL.canParse(`https://${text}`);
}

/** Reports whether a host, with or without a port, is this machine: `localhost`, 127.0.0.0/8 or `::1`. */
export function isLoopback(host: string): boolean {
  if (host === '::1') return true;
  const name = host.replace(/:\d+$/, '').toLowerCase();
  return name === 'localhost' || name === '[::1]' || (isIP(name) === 4 && name.startsWith('127.'));
}

/** Reports whether `text` is a valid repository path (without registry). */
export function isRepositoryPath(text: string): boolean {
  return text.length <= 255 && text.split('/').every((part) => pathComponent.test(part));
}

function splitRegistry(name: string): Repository {
  const slash = name.indexOf('/');
  const first = slash < 0 ? '' : name.slice(0, slash);
  const isHost =
    first !== '' && (/[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase());
  const registry = isHost ? first : 'docker.io';
  const repository = isHost ? name.slice(slash + 1) : name;
  if (!dockerHubNames.includes(registry)) return { registry, repository };
  return {
    registry: 'docker.io',
    repository: repository.includes('/') ? repository : `library/${repository}`,
  };
}

/**
 * Parses a reference as docker does: `redis` is `docker.io/library/redis:latest`. A reference with a digest keeps its tag but gets
 * no default tag.
 * @throws AirliftError `usage` that names the wrong part
 */
export function parseReference(text: string): Reference {
  const bad = (happened: string, hint?: string): never => {
    throw new AirliftError('usage', `parse reference ${quoted(text)}: ${happened}`, {
      hint,
    });
  };
  if (text === '') bad('empty');
  if (text.includes('://')) bad('has a scheme', `leave out ${text.slice(0, text.indexOf('://') + 3)}`);
  if (isImageId(text)) bad('is an image ID, not a name');
  const at = text.indexOf('@');
  const digest = at < 0 ? undefined : text.slice(at + 1);
  // Checked first: the text before an @ without a digest may contain a password.
  if (digest !== undefined && !isDigest(digest)) bad('what follows the @ is not a sha256 or sha512 digest');
  const named = at < 0 ? text : text.slice(0, at);
  const colon = named.lastIndexOf(':');
  const hasTag = colon > named.lastIndexOf('/');
  const tag = hasTag ? named.slice(colon + 1) : undefined;
  const { registry, repository } = splitRegistry(hasTag ? named.slice(0, colon) : named);
  if (!isRegistry(registry)) bad(`${quoted(registry)} is not a registry host`);
  if (!isRepositoryPath(repository)) {
    const lower = repository.toLowerCase();
    bad(
      `${quoted(repository)} is not a repository path`,
      repository !== lower && isRepositoryPath(lower) ? 'repository paths are lower case' : undefined,
    );
  }
  if (tag !== undefined && !isTag(tag)) bad(`${quoted(tag)} is not a tag`);
  return {
    registry,
    repository,
    tag: tag ?? (digest === undefined ? 'latest' : undefined),
    digest: digest as Digest | undefined,
  };
}

/** Formats a repository: `registry/repository`. */
export function formatRepository(name: Repository): string {
  return `${name.registry}/${name.repository}`;
}

/** Formats a reference in full: `registry/repository[:tag][@digest]`. */
export function formatReference(reference: Reference): string {
  const tag = reference.tag === undefined ? '' : `:${reference.tag}`;
  const digest = reference.digest === undefined ? '' : `@${reference.digest}`;
  return `${formatRepository(reference)}${tag}${digest}`;
}
