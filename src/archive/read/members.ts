import { AirliftError } from '../../errors.js';
import type { ByteRange, PlacedRange } from '../../io/byte-range.js';

/** The files of an archive or a directory, by path (without leading `./`, separated by `/`). */
export interface Members {
  /** The archive's name in messages. */
  readonly file: string;
  /**
   * Finds the content of a file, following links within the archive; undefined where the file is missing.
   * @throws AirliftError `damaged` where a link is circular or leads outside, or where the path is ambiguous
   */
  find(path: string): Promise<PlacedRange | undefined>;
  /** Lists the paths of all files and links below a folder (`blobs/`). */
  below(folder: string): AsyncIterable<string>;
  /** The hint for errors about missing files. */
  readonly missingHint: string | undefined;
  close(): Promise<void>;
}

/** The most entries of an archive: a hundred times as many as the largest known archive has. */
export const maxMembers = 2_000_000;

/**
 * Finds the content of a required file.
 * @throws AirliftError `damaged` where it is missing
 */
export async function findMember(members: Members, path: string, namedBy: string): Promise<PlacedRange> {
  const content = await members.find(path);
  if (content !== undefined) return content;
  throw new AirliftError(
    'damaged',
    `read ${members.file}: ${JSON.stringify(path)} is missing from the archive, although ${namedBy} lists it`,
    { hint: members.missingHint },
  );
}

/**
 * Reads a document of the archive; undefined where it is missing.
 * @param limit the most bytes it may have
 * @throws AirliftError `input` where it is larger
 */
export async function readMember(members: Members, path: string, limit: number): Promise<Buffer | undefined> {
  const content = await members.find(path);
  return content === undefined ? undefined : readWhole(content, limit, `${path} in ${members.file}`);
}

/**
 * Reads all of a content.
 * @throws AirliftError `input` where it has more than `limit` bytes
 */
export async function readWhole(content: ByteRange, limit: number, what: string): Promise<Buffer> {
  if (content.size > limit)
    throw new AirliftError(
      'input',
      `read ${what}: too large; got ${content.size} bytes, want at most ${limit}`,
    );
  return content.read(0, content.size);
}
