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

/** The most references that lists may name together. */
export const maxReferences = 100_000;
const maxNotes = 1000;

/** What a list may say about a reference beside its name. */
export type ListedDetails = Pick<ListedReference, 'platforms' | 'pinned' | 'referrers'>;

/** Joins what two entries of one reference ask for. An entry without platforms asks for all that are wanted anyway. */
function joinPlatforms(
  first: readonly Platform[] | undefined,
  second: readonly Platform[] | undefined,
): readonly Platform[] | undefined {
  if (first === undefined || second === undefined) return undefined;
  const seen = new Set(first.map(formatPlatform));
  return [...first, ...second.filter((platform) => !seen.has(formatPlatform(platform)))];
}

/** Collects what lists name, drops duplicates, and keeps every problem so that all are told at once. */
export class Collector {
  readonly #references = new Map<string, ListedReference>();
  readonly #patterns = new Map<string, ListedPattern>();
  readonly #notes: ListNote[] = [];
  readonly #problems: string[] = [];
  readonly #lists: { readonly file: string; readonly formats: ListFormat[] }[] = [];
  #problemCount = 0;
  /** References that were read, those named before among them. */
  #named = 0;
  #file = '';

  /** Begins the list that the next calls speak of. */
  begin(file: string): void {
    this.#file = file;
    this.#lists.push({ file, formats: [] });
  }

  /** Begins the references of the command line, which is no list. */
  beginCommandLine(): void {
    this.#file = commandLine;
  }

  /** Says what the list, or a document in it, turned out to be. */
  format(format: ListFormat): void {
    const formats = this.#lists.at(-1)?.formats;
    if (formats?.includes(format) === false) formats.push(format);
  }

  /** How many references, patterns and mistakes were found so far. */
  get entries(): number {
    return this.#named + this.#patterns.size + this.#problemCount;
  }

  /** The list that is being read. */
  get file(): string {
    return this.#file;
  }

  /** Runs something that parses; where it refuses what the list says, that is a problem and the answer is undefined. */
  attempt<T>(line: number, parse: () => T): T | undefined {
    try {
      return parse();
    } catch (error) {
      if (!isAirliftError(error, 'usage', 'input')) throw error;
      this.problem(line, error.hint === undefined ? error.message : `${error.message} (${error.hint})`);
      return undefined;
    }
  }

  /** Takes an image by its written reference; a bad one becomes a problem. */
  reference(text: string, line: number, details: ListedDetails = {}): void {
    if (isImageId(text)) {
      this.note(line, `skipped ${text.slice(0, 20)}…, the id of an image, which no registry knows as a name`);
      return;
    }
    const reference = this.attempt(line, () => parseReference(text));
    if (reference === undefined) return;
    this.#named++;
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

  /** Takes a repository with a tag pattern. */
  pattern(repository: Repository, pattern: string, line: number): void {
    const key = `${formatRepository(repository)} ${pattern}`;
    if (!this.#patterns.has(key)) this.#patterns.set(key, { repository, pattern, file: this.#file, line });
  }

  /** Remembers something that was not taken. */
  note(line: number, message: string): void {
    if (this.#notes.length < maxNotes) this.#notes.push({ file: this.#file, line, message });
  }

  /** Remembers a mistake in the list; `result` throws where there was one. */
  problem(line: number, message: string): void {
    this.#problemCount++;
    if (this.#problems.length >= maxProblemsShown) return;
    this.#problems.push(`${placeOf({ file: this.#file, line })}: ${message}`);
  }

  /**
   * What the lists name.
   * @throws AirliftError `usage` that tells every problem of every list with its file and line
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
