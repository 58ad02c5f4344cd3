import { AirliftError, isAirliftError, maxProblemsShown, problemsError } from '../errors.js';
import { formatPlatform, type Platform } from '../oci/platform.js';
import {
  formatReference,
  formatRepository,
  isImageId,
  parseReference,
  type Repository,
} from '../oci/reference.js';
import { commandLine, placeOf } from './listed.js';
import type { ImageList, ListedPattern, ListedReference, ListFormat, ListNote } from './listed.js';

/** Maximum number of references in all lists together. */
export const maxReferences = 100_000;
const maxNotes = 1000;

/** What a list may specify for a reference in addition to its name. */
export type ListedDetails = Pick<ListedReference, 'platforms' | 'pinned' | 'referrers'>;

/** Merges the platforms of two entries for one reference. If an entry names none, the default platforms apply: undefined. */
function joinPlatforms(
  first: readonly Platform[] | undefined,
  second: readonly Platform[] | undefined,
): readonly Platform[] | undefined {
  if (first === undefined || second === undefined) return undefined;
  const seen = new Set(first.map(formatPlatform));
  return [...first, ...second.filter((platform) => !seen.has(formatPlatform(platform)))];
}

/** Collects the references and patterns of lists without duplicates, and all problems, to report them together. */
export class Collector {
  readonly #references = new Map<string, ListedReference>();
  readonly #patterns = new Map<string, ListedPattern>();
  readonly #notes: ListNote[] = [];
  readonly #problems: string[] = [];
  readonly #lists: { readonly file: string; readonly formats: ListFormat[] }[] = [];
  #problemCount = 0;
  /** Number of references read, including duplicates. */
  #readCount = 0;
  #file = '';

  /** Starts a list: the next calls apply to it. */
  begin(file: string): void {
    this.#file = file;
    this.#lists.push({ file, formats: [] });
  }

  /** Starts the references of the command line, which are not a list. */
  beginCommandLine(): void {
    this.#file = commandLine;
  }

  /** Records the format of the list, or of a document in it. */
  format(format: ListFormat): void {
    const formats = this.#lists.at(-1)?.formats;
    if (formats?.includes(format) === false) formats.push(format);
  }

  /** Number of references, patterns and problems so far. */
  get entries(): number {
    return this.#readCount + this.#patterns.size + this.#problemCount;
  }

  /** Name of the current list. */
  get file(): string {
    return this.#file;
  }

  /** Runs a parser. If it refuses its input, records a problem and returns undefined. */
  attempt<T>(line: number, parse: () => T): T | undefined {
    try {
      return parse();
    } catch (error) {
      if (!isAirliftError(error, 'usage', 'input')) throw error;
      this.problem(line, error.hint === undefined ? error.message : `${error.message} (${error.hint})`);
      return undefined;
    }
  }

  /** Adds an image by its reference; an invalid reference becomes a problem. */
  reference(text: string, line: number, details: ListedDetails = {}): void {
    if (isImageId(text)) {
      this.note(
        line,
        `skipped ${text.slice(0, 20)}…: it is an image ID, and a registry cannot find an image by its ID`,
      );
      return;
    }
    const reference = this.attempt(line, () => parseReference(text));
    if (reference === undefined) return;
    this.#readCount++;
    const tagAssumed = reference.digest === undefined && !/:[^/]*$/.test(text);
    const key = formatReference(reference);
    const listed = { reference, text, file: this.#file, line, tagAssumed, ...details };
    const earlier = this.#references.get(key);
    if (earlier === undefined) {
      if (this.#references.size >= maxReferences) {
        throw new AirliftError('usage', `read ${this.#file}: more than ${maxReferences} image references`);
      }
      this.#references.set(key, listed);
      return;
    }
    if (earlier.pinned !== undefined && listed.pinned !== undefined && earlier.pinned !== listed.pinned) {
      this.problem(
        line,
        `${key} is locked twice; got ${listed.pinned}, want ${earlier.pinned} as in ${placeOf(earlier)}`,
      );
      return;
    }
    this.#references.set(key, {
      ...earlier,
      tagAssumed: earlier.tagAssumed && tagAssumed,
      platforms: joinPlatforms(earlier.platforms, listed.platforms),
      pinned: earlier.pinned ?? listed.pinned,
      referrers: earlier.referrers ?? listed.referrers,
    });
  }

  /** Adds a repository with a tag pattern. */
  pattern(repository: Repository, pattern: string, line: number): void {
    const key = `${formatRepository(repository)} ${pattern}`;
    if (!this.#patterns.has(key)) this.#patterns.set(key, { repository, pattern, file: this.#file, line });
  }

  /** Records an entry that is not used, and why. */
  note(line: number, message: string): void {
    if (this.#notes.length < maxNotes) this.#notes.push({ file: this.#file, line, message });
  }

  /** Records a mistake in the list; it makes `result` throw. */
  problem(line: number, message: string): void {
    this.#problemCount++;
    if (this.#problems.length >= maxProblemsShown) return;
    this.#problems.push(`${placeOf({ file: this.#file, line })}: ${message}`);
  }

  /**
   * Returns the content of all lists.
   * @throws AirliftError `usage` with the problems of all lists, each with file and line
   */
  result(): ImageList {
    if (this.#problemCount > 0) throw problemsError('read images', this.#problems, this.#problemCount);
    return {
      lists: this.#lists,
      references: [...this.#references.values()],
      patterns: [...this.#patterns.values()],
      notes: this.#notes,
    };
  }
}
