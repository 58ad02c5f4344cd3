import type { Digest } from '../oci/digest.js';
import type { Platform } from '../oci/platform.js';
import type { Reference, Repository } from '../oci/reference.js';

/** A place in a list. */
export interface Place {
  /** Name of the list as it was given, `standard input` for `-`. */
  readonly file: string;
  /** Line, counted from 1; on the command line the position among its references. */
  readonly line: number;
}

/** What stands for a file's name where a reference came from the command line. */
export const commandLine = 'command line';

/** A place as people read it: `list.txt:4`, or `command line`. */
export function placeOf(place: Place): string {
  return place.file === commandLine ? commandLine : `${place.file}:${place.line}`;
}

/** An image that a list names. */
export interface ListedReference extends Place {
  readonly reference: Reference;
  /** The reference as it is written in the list. */
  readonly text: string;
  /** Whether the list gives neither tag nor digest, so that the tag `latest` is only assumed. */
  readonly tagAssumed: boolean;
  /** The platforms that the list asks for; undefined where it says nothing. */
  readonly platforms?: readonly Platform[] | undefined;
  /** What a lock says the reference points at: resolve this, but keep `reference` as the image's name. */
  readonly pinned?: Digest | undefined;
  /** What a lock says refers to the image: exactly these travel with it. */
  readonly referrers?: readonly Digest[] | undefined;
}

/** A repository of which a list wants every tag that fits a pattern. */
export interface ListedPattern extends Place {
  readonly repository: Repository;
  /** The pattern in the form that `parseTagPattern` reads: `semver:…`, `regex:…` or `all`. */
  readonly pattern: string;
}

/** Something in a list that was understood but not taken, and why. */
export interface ListNote extends Place {
  readonly message: string;
}

/** The kinds of list, told apart by their content. */
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

/** A list that was read, and what it turned out to be: a stream of YAML may hold several kinds. */
export interface ReadList {
  readonly file: string;
  readonly formats: readonly ListFormat[];
}

/** What one or several lists ask for, in the order of the lists, each reference once. */
export interface ImageList {
  readonly lists: readonly ReadList[];
  readonly references: readonly ListedReference[];
  readonly patterns: readonly ListedPattern[];
  readonly notes: readonly ListNote[];
}
