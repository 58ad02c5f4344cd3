import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { AirliftError, messageOf } from '../errors.js';
import { replaceFile } from '../io/replace-file.js';
import { isDigest, type Digest } from '../oci/digest.js';
import { oneLine } from '../oci/printable.js';
import { isRegistry, isRepositoryPath, isTag } from '../oci/reference.js';
import { isTime } from '../oci/time.js';

/**
 * The kind of a record: `receipt`, what a registry holds, with paths of repositories there; `sent`, what exports have sent, with the
 * registries of the source.
 */
export type RecordKind = 'receipt' | 'sent';

/** The first lines of a receipt. */
export interface ReceiptHead {
  readonly kind: RecordKind;
  /** The registry, with a path if only a part of it was listed; undefined for a record of what was sent. */
  readonly registry?: string | undefined;
  /** RFC 3339, UTC, in seconds. */
  readonly time: string;
  /** Version of airlift. */
  readonly airlift: string;
}

/** A line of a receipt: one manifest, index or layer. */
export interface ReceiptEntry {
  /** Path of the repository; in a record of what was sent, with its registry. */
  readonly repository: string;
  /** Undefined for content that is listed by its digest. */
  readonly tag?: string | undefined;
  readonly digest: Digest;
  /** `index`, `layer`, `manifest`, or the manifest's platform, such as `linux/arm/v7`. */
  readonly content: string;
}

/** The most bytes of a receipt: half a million lines. */
const maxSize = 64 * 1024 * 1024;
/** The most bytes of a line. */
const maxLine = 1024;
const formatVersion = 1;

const contentPattern = /^(?:index|layer|manifest|[A-Za-z0-9_.-]{1,64}(?:\/[A-Za-z0-9_.-]{1,64}){1,2})$/;

/** Returns what a platform is called in a receipt; `manifest` if there is no platform, or its name has unusual characters. */
export function contentOfPlatform(platform: string | undefined): string {
  return platform !== undefined && contentPattern.test(platform) ? platform : 'manifest';
}

function formatEntry({ repository, tag, digest, content }: ReceiptEntry): string {
  return tag === undefined
    ? `${repository}@${digest} ${content}`
    : `${repository}:${tag} ${digest} ${content}`;
}

/** The text of a receipt: the head, an empty line, then one line per entry, sorted by bytes, each once. */
export class ReceiptText {
  readonly #lines = new Set<string>();
  #size = 0;

  constructor(private readonly head: ReceiptHead) {}

  /**
   * Adds a line.
   * @throws AirliftError `unsupported` if the text becomes too large
   */
  add(entry: ReceiptEntry): void {
    const { kind } = this.head;
    const line = formatEntry(entry);
    if (!this.#lines.has(line)) this.#size += line.length + 1;
    this.#lines.add(line);
    if (this.#size > maxSize - maxLine)
      throw new AirliftError('unsupported', `write ${kind}: too large; want at most ${maxSize} bytes`, {
        hint:
          kind === 'sent'
            ? 'give this record with `base` from now on, and begin a new one with `sent`'
            : 'list fewer images at a time: several receipts add up',
      });
  }

  toString(): string {
    const { kind, registry, time, airlift } = this.head;
    return [
      `airlift ${kind} ${formatVersion}`,
      ...(registry === undefined ? [] : [`registry: ${registry}`]),
      `time: ${time}`,
      `airlift: ${airlift}`,
      '',
      // All characters are ASCII, so that this is the order of `LC_ALL=C sort`.
      ...[...this.#lines].sort(),
      '',
    ].join('\n');
  }
}

/**
 * Formats a receipt.
 * @throws AirliftError `unsupported` if it is too large
 */
export function formatReceipt(head: ReceiptHead, entries: Iterable<ReceiptEntry>): string {
  const text = new ReceiptText(head);
  for (const entry of entries) text.add(entry);
  return text.toString();
}

/**
 * Writes a receipt, completely or not at all.
 * @throws AirliftError `io`
 */
export async function writeReceipt(path: string, text: string): Promise<void> {
  try {
    await replaceFile(path, `${path}.new`, text);
  } catch (cause) {
    throw new AirliftError('io', `write ${path}: ${messageOf(cause)}`, { cause });
  }
}

/** Reports whether a file begins as a receipt or a record of what was sent does. */
export async function looksLikeReceipt(path: string): Promise<boolean> {
  const file = await open(path, 'r').catch((cause: unknown) => {
    throw new AirliftError('io', `open ${path}: ${messageOf(cause)}`, { cause, hint: 'check the path' });
  });
  try {
    if (!(await file.stat()).isFile()) return false;
    const { buffer, bytesRead } = await file.read(Buffer.alloc(16), 0, 16, 0);
    return /^airlift (?:receipt|sent) /.test(buffer.toString('latin1', 0, bytesRead));
  } finally {
    await file.close();
  }
}

/** Yields the lines of a text file with bounds on its size and on its lines. Every line has to end with a newline. */
async function* linesOf(path: string, fail: (happened: string) => never): AsyncIterable<string> {
  let rest = '';
  let size = 0;
  try {
    for await (const chunk of createReadStream(path)) {
      size += (chunk as Buffer).length;
      if (size > maxSize) fail(`too large; want at most ${maxSize} bytes`);
      const lines = (rest + (chunk as Buffer).toString('latin1')).split('\n');
      rest = lines.pop() ?? '';
      // A receipt that was sent by mail or edited may have the line ends of another system.
      for (const line of lines) yield line.endsWith('\r') ? line.slice(0, -1) : line;
      if (rest.length > maxLine) fail('a line is too long');
    }
  } catch (cause) {
    if (cause instanceof AirliftError) throw cause;
    throw new AirliftError('io', `read ${path}: ${messageOf(cause)}`, { cause });
  }
  if (rest !== '') fail('its last line is cut off');
}

function isRepositoryOf(kind: RecordKind, text: string): boolean {
  if (kind === 'receipt') return isRepositoryPath(text);
  const slash = text.indexOf('/');
  return slash > 0 && isRegistry(text.slice(0, slash)) && isRepositoryPath(text.slice(slash + 1));
}

/** Parses a line below the head. */
function parseEntry(kind: RecordKind, line: string): ReceiptEntry | undefined {
  const [name = '', ...fields] = line.split(' ');
  const at = name.indexOf('@');
  const [repository, tag, digest, content] =
    at >= 0
      ? [name.slice(0, at), undefined, name.slice(at + 1), fields[0]]
      : [name.slice(0, name.lastIndexOf(':')), name.slice(name.lastIndexOf(':') + 1), fields[0], fields[1]];
  if (fields.length !== (at >= 0 ? 1 : 2) || !isDigest(digest) || !isRepositoryOf(kind, repository))
    return undefined;
  if ((tag !== undefined && !isTag(tag)) || content === undefined || !contentPattern.test(content))
    return undefined;
  return { repository, tag, digest, content };
}

/** A receipt on the disk. Its entries are read when they are needed, so that memory does not grow with it. */
export class Receipt {
  private constructor(
    readonly path: string,
    readonly head: ReceiptHead,
    /** Digest of the file. */
    readonly digest: Digest,
  ) {}

  /**
   * Opens a receipt and checks every line of it.
   * @throws AirliftError `input` with the number of the first wrong line, `unsupported` if a newer airlift wrote it, `io`
   */
  static async open(path: string): Promise<Receipt> {
    let kind: RecordKind | undefined;
    const fail = (happened: string): never => {
      throw new AirliftError('input', `read ${path}: ${happened}`, {
        hint:
          kind === 'sent'
            ? 'take an older copy of the record, or begin a new one under another name'
            : 'write the receipt again at the site: airlift inventory HOST[:PORT] -o FILE',
      });
    };
    const hash = createHash('sha256');
    const fields = new Map<string, string>();
    let isHead = true;
    let number = 0;
    for await (const line of linesOf(path, fail)) {
      number++;
      hash.update(`${line}\n`);
      if (kind === undefined)
        kind = kindOf(line, path) ?? fail(`not a receipt; line 1 is ${JSON.stringify(oneLine(line, 80))}`);
      else if (isHead && line === '') isHead = false;
      else if (isHead) {
        const [, name = '', value = ''] =
          /^([a-z]{1,32}): (.{1,400})$/.exec(line) ?? fail(`line ${number} is malformed`);
        fields.set(name, value);
      } else if (!isIgnored(line) && parseEntry(kind, line) === undefined)
        fail(`line ${number} is malformed; got ${JSON.stringify(oneLine(line, 120))}`);
    }
    if (kind === undefined || isHead) fail('the file ends in its first lines');
    const [registry, time = '', airlift = ''] = ['registry', 'time', 'airlift'].map((name) =>
      fields.get(name),
    );
    const isNamed = kind === 'sent' ? registry === undefined : registry !== undefined && isPlace(registry);
    if (!isNamed || !isTime(time))
      fail('its first lines lack the registry or the time, or one of them is malformed');
    const head = { kind: kind ?? 'receipt', registry, time, airlift: oneLine(airlift, 80) };
    return new Receipt(path, head, `sha256:${hash.digest('hex')}` as Digest);
  }

  /** Yields the entries in their order in the file. */
  async *entries(): AsyncIterable<ReceiptEntry> {
    const fail = (happened: string): never => {
      throw new AirliftError('input', `read ${this.path}: ${happened}; the file has changed meanwhile`);
    };
    let isHead = true;
    for await (const line of linesOf(this.path, fail)) {
      if (isHead) isHead = line !== '';
      else if (!isIgnored(line)) yield parseEntry(this.head.kind, line) ?? fail('a line is malformed');
    }
  }
}

function isIgnored(line: string): boolean {
  return line === '' || line.startsWith('#');
}

function isPlace(text: string): boolean {
  const [registry = '', ...path] = text.split('/');
  return isRegistry(registry) && (path.length === 0 || isRepositoryPath(path.join('/')));
}

function kindOf(line: string, path: string): RecordKind | undefined {
  const [, kind, version] = /^airlift (receipt|sent) (\d{1,9})$/.exec(line) ?? [];
  if (kind === undefined || Number(version) === formatVersion) return kind as RecordKind | undefined;
  throw new AirliftError(
    'unsupported',
    `read ${path}: unknown version of the format; got ${version}, want ${formatVersion}`,
    { hint: 'use the airlift version that wrote this file, or a newer one' },
  );
}
