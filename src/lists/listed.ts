import type { Digest } from '../oci/digest.js';
import type { Platform } from '../oci/platform.js';
import type { Reference, Repository } from '../oci/reference.js';

/** A place in a list. */
export interface Place {
  /** Name of the list as given; `standard input` for `-`. */
  readonly file: string;
  /** Line, counted from 1; for the command line, the position among its references. */
  readonly line: number;
}

/** File name of references from the command line. */
export const commandLine = 'command line';

/** Formats a place for messages: `list.txt:4`, or `command line`. */
export function placeOf(place: Place): string {
  return place.file === commandLine ? commandLine : `${place.file}:${place.line}`;
}

/** An image that a list names. */
export interface ListedReference extends Place {
  readonly reference: Reference;
  /** The reference as written in the list. */
  readonly text: string;
  /** Whether the list has neither tag nor digest, and the tag `latest` is assumed. */
  readonly tagAssumed: boolean;
  /** The platforms that the list specifies; undefined if it specifies none. */
  readonly platforms?: readonly Platform[] | undefined;
  /** The digest in a lock: fetch this digest, but keep `reference` as the image's name. */
  readonly pinned?: Digest | undefined;
  /** The referrers in a lock: include exactly these. */
  readonly referrers?: readonly Digest[] | undefined;
}

/** A repository with a tag pattern: the list names every matching tag. */
export interface ListedPattern extends Place {
  readonly repository: Repository;
  /** The pattern in the syntax of `parseTagPattern`: `semver:…`, `regex:…` or `all`. */
  readonly pattern: string;
}

/** An entry of a list that is not used, or used with an assumption, and why. */
export interface ListNote extends Place {
  readonly message: string;
}

/** The formats of lists, detected by content. */
export type ListFormat =
  | 'text'
  | 'yaml'
  | 'kubernetes'
  | 'kustomize'
  | 'compose'
  | 'skopeo-sync'
  | 'hauler'
  | 'imgpkg'
  | 'oc-mirror'
  | 'zarf'
  | 'lock';

/** A list with its formats: a YAML stream may contain several. */
export interface ReadList {
  readonly file: string;
  readonly formats: readonly ListFormat[];
}

/** The content of one or several lists, in their order, each reference once. */
export interface ImageList {
  readonly lists: readonly ReadList[];
  readonly references: readonly ListedReference[];
  readonly patterns: readonly ListedPattern[];
  readonly notes: readonly ListNote[];
}
