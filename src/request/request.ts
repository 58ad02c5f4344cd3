/**
 * A request: a text file by which a site asks for blobs that are damaged or missing there. People read it before it leaves the site, and
 * can type it where no file may leave. docs/bundle-format.md, "Requests", specifies it.
 */
import { createReadStream } from 'node:fs';
import { AirliftError, maxProblemsShown, messageOf, problemsError } from '../errors.js';
import { replaceFile } from '../io/replace-file.js';
import type { Digest } from '../oci/digest.js';
import { oneLine } from '../oci/printable.js';
import { quoted } from '../oci/quoted.js';
import { formatReference, parseReference, type Reference } from '../oci/reference.js';
import {
  formatCheckedDigest,
  formatSizedDigest,
  parseCheckedDigest,
  parseSizedDigest,
  type SizedDigest,
} from './line.js';

/** The bundle that a request belongs to. */
export interface RequestHeader {
  /** File name of the bundle, for people. */
  readonly bundle: string;
  /** Digest of the bundle's `SHA256SUMS`; undefined if it is unknown. */
  readonly sums?: Digest | undefined;
  /** Whether the head of the bundle is needed: the entries before the first blob. */
  readonly head: boolean;
}

/** A blob that is needed. */
export interface RequestedBlob extends SizedDigest {
  /** Images that need it: their repositories can provide it. */
  readonly images: readonly Reference[];
}

/** Totals of a request. Blobs of unknown size count as empty. */
export interface RequestTotals {
  readonly blobs: number;
  readonly bytes: number;
}

const version = 1;

/** The most images to write below a blob, and the most to read. */
const maxImages = { written: 4, read: 64 } as const;
const maxLine = 4096;
const maxFileSize = 64 * 1024 * 1024;
const maxBlobs = 200_000;

const introduction = [
  '# Take this file to a machine that reaches the registries, and run there:',
  '#   airlift export --request FILE -o repair.tar',
  '# Bring repair.tar back, and run:',
  '#   airlift repair BUNDLE --from repair.tar',
  '# If the file cannot travel, type its lines: spaces and upper case do not matter, lines with # can be',
  '# left out, and the last four letters of a line find typing errors.',
];

function* requestText(
  { bundle, sums, head }: RequestHeader,
  blobs: Iterable<RequestedBlob>,
): Iterable<string> {
  yield `airlift request ${version}\n${introduction.join('\n')}\n`;
  yield `bundle ${oneLine(bundle, 255)}\n`;
  if (sums !== undefined) yield `sums ${formatCheckedDigest(sums)}\n`;
  if (head) yield 'head\n';
  for (const { images, ...blob } of blobs) {
    yield `blob ${formatSizedDigest(blob)}\n`;
    for (const image of images.slice(0, maxImages.written)) yield `image ${formatReference(image)}\n`;
    if (images.length > maxImages.written) yield `# and ${images.length - maxImages.written} more images\n`;
  }
}

/**
 * Writes a request, completely or not at all; replaces an earlier one.
 * @throws the system's error
 */
export async function writeRequest(
  path: string,
  header: RequestHeader,
  blobs: Iterable<RequestedBlob>,
): Promise<RequestTotals> {
  const totals = { blobs: 0, bytes: 0 };
  function* counted(): Iterable<RequestedBlob> {
    for (const blob of blobs) {
      totals.blobs++;
      totals.bytes += blob.size ?? 0;
      yield blob;
    }
  }
  await replaceFile(path, `${path}.new`, requestText(header, counted()));
  return totals;
}

/** A line that says something, trimmed, with its number from 1. */
interface Line {
  readonly number: number;
  readonly text: string;
}

/** Yields the lines of a text file that are neither blank nor comments. */
async function* linesOf(path: string): AsyncIterable<Line> {
  let rest = '';
  let number = 0;
  let bytes = 0;
  const stream = createReadStream(path, { encoding: 'utf8' });
  const refuse = (happened: string): never => {
    throw new AirliftError('input', `read request ${path}: ${happened}`);
  };
  const trimmed = (text: string): string => text.replace(/^\ufeff/, '').trim();
  for await (const chunk of stream as AsyncIterable<string>) {
    bytes += chunk.length;
    if (bytes > maxFileSize) refuse(`too large; want at most ${maxFileSize} bytes`);
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > maxLine) refuse(`line ${number + lines.length + 1} is too long`);
    for (const line of lines) {
      number++;
      if (line.length > maxLine) refuse(`line ${number} is too long`);
      const text = trimmed(line);
      if (text !== '' && !text.startsWith('#')) yield { number, text };
    }
  }
  const text = trimmed(rest);
  if (text !== '' && !text.startsWith('#')) yield { number: number + 1, text };
}

/** What a line states. */
type Statement =
  | { readonly kind: 'bundle'; readonly bundle: string }
  | { readonly kind: 'sums'; readonly digest: Digest }
  | { readonly kind: 'head' }
  | ({ readonly kind: 'blob' } & SizedDigest)
  | { readonly kind: 'image'; readonly image: Reference }
  | { readonly kind: 'problem'; readonly problem: string };

function statementOf(line: string): Statement {
  const problem = (text: string): Statement => ({ kind: 'problem', problem: text });
  // Typed without spaces a digest still follows its word, so the word ends at the first character that cannot belong to it.
  const [, word = '', rest = ''] = /^(bundle|sums|head|blob|image)(.*)$/i.exec(line) ?? [];
  const value = rest.trim();
  switch (word.toLowerCase()) {
    case 'bundle':
      return { kind: 'bundle', bundle: oneLine(value, 255) };
    case 'head':
      return value === '' ? { kind: 'head' } : problem(`${quoted(line, 80)} is not a line of a request`);
    case 'sums': {
      const parsed = parseCheckedDigest(value);
      return typeof parsed === 'string' ? problem(parsed) : { kind: 'sums', ...parsed };
    }
    case 'blob': {
      const parsed = parseSizedDigest(value);
      return typeof parsed === 'string' ? problem(parsed) : { kind: 'blob', ...parsed };
    }
    case 'image':
      try {
        return { kind: 'image', image: parseReference(value) };
      } catch (error) {
        return problem(messageOf(error));
      }
    default:
      return problem(
        `${quoted(line, 80)} is not a line of a request; want bundle, sums, head, blob or image`,
      );
  }
}

/** A request that has been read and checked. */
export class Request {
  private constructor(
    readonly path: string,
    readonly header: RequestHeader,
    readonly totals: RequestTotals,
  ) {}

  /**
   * Reads a request and checks every line of it.
   * @throws AirliftError `usage` that names each wrong line, `input` if it is not a request, `unsupported` if a newer airlift wrote it, `io`
   */
  static async open(path: string): Promise<Request> {
    const check = new Check();
    try {
      for await (const line of linesOf(path)) check.add(path, line);
    } catch (error) {
      if (error instanceof AirliftError) throw error;
      throw new AirliftError('io', `read request ${path}: ${messageOf(error)}`, { cause: error });
    }
    return new Request(path, check.result(path), check.totals);
  }

  /** Yields the blobs in the order of the file, each once. */
  async *blobs(): AsyncIterable<RequestedBlob> {
    const seen = new Set<Digest>();
    let open: (SizedDigest & { images: Reference[] }) | undefined;
    for await (const { text } of linesOf(this.path)) {
      const statement = statementOf(text);
      if (statement.kind === 'image') open?.images.push(statement.image);
      if (statement.kind !== 'blob') continue;
      if (open !== undefined) yield open;
      const { digest, size } = statement;
      open = seen.has(digest) ? undefined : { digest, size, images: [] };
      seen.add(digest);
    }
    if (open !== undefined) yield open;
  }
}

/** Checks the lines of a request, one after the other. */
class Check {
  readonly totals = { blobs: 0, bytes: 0 };
  readonly #problems: string[] = [];
  #problemCount = 0;
  #isBegun = false;
  #bundle = '';
  #sums: Digest | undefined;
  #head = false;
  readonly #seen = new Set<Digest>();
  /** Images of the last blob; undefined before the first one. */
  #images: number | undefined;

  add(path: string, { number, text }: Line): void {
    if (!this.#isBegun) {
      checkFirstLine(path, text);
      this.#isBegun = true;
      return;
    }
    const statement = statementOf(text);
    const problem = statement.kind === 'problem' ? statement.problem : this.#accept(statement);
    if (problem === undefined) return;
    this.#problemCount++;
    if (this.#problems.length < maxProblemsShown) this.#problems.push(`line ${number}: ${problem}`);
  }

  #accept(statement: Exclude<Statement, { kind: 'problem' }>): string | undefined {
    switch (statement.kind) {
      case 'bundle':
        this.#bundle = statement.bundle;
        return undefined;
      case 'sums':
        this.#sums = statement.digest;
        return undefined;
      case 'head':
        this.#head = true;
        return undefined;
      case 'image':
        if (this.#images === undefined) return 'want a blob line before the first image line';
        return ++this.#images > maxImages.read
          ? `too many images for one blob; want at most ${maxImages.read}`
          : undefined;
      case 'blob':
        this.#images = 0;
        if (this.#seen.has(statement.digest)) return undefined;
        if (this.totals.blobs === maxBlobs) return `too many blobs; want at most ${maxBlobs}`;
        this.#seen.add(statement.digest);
        this.totals.blobs++;
        this.totals.bytes += statement.size ?? 0;
        return undefined;
    }
  }

  result(path: string): RequestHeader {
    if (!this.#isBegun) throw new AirliftError('input', `read request ${path}: the file is empty`);
    if (this.#problemCount > 0)
      throw problemsError(`read request ${path}`, this.#problems, this.#problemCount);
    return { bundle: this.#bundle, sums: this.#sums, head: this.#head };
  }
}

function checkFirstLine(path: string, text: string): void {
  const number = /^airlift\s*request\s*(\d{1,9})$/i.exec(text)?.[1];
  if (number === undefined)
    throw new AirliftError(
      'input',
      `read request ${path}: not a request; it starts with ${quoted(text, 80)}, want "airlift request ${version}"`,
    );
  if (Number(number) !== version)
    throw new AirliftError(
      'unsupported',
      `read request ${path}: unknown version; got ${number}, want ${version}`,
      { hint: 'use the airlift version that wrote this request, or a newer one' },
    );
}

/**
 * Returns the registries of the images that a request names.
 * @throws AirliftError as `Request.open` does
 */
export async function registriesOfRequest(path: string): Promise<Set<string>> {
  const request = await Request.open(path);
  const registries = new Set<string>();
  for await (const { images } of request.blobs()) for (const { registry } of images) registries.add(registry);
  return registries;
}
