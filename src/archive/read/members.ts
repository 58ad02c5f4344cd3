import { AirliftError } from '../../errors.js';
import type { ByteRange } from '../../io/byte-range.js';

/** The files inside an archive, or below a directory, by their path (no `./` in front, `/` between). */
export interface Members {
  /** The archive's name, for messages. */
  readonly file: string;
  /**
   * The content of a file, links followed within the archive; undefined where there is none.
   * @throws AirliftError `damaged` where a link leads outside, or in a circle, or where the path is ambiguous
   */
  find(path: string): Promise<ByteRange | undefined>;
  /** The paths of all files below a folder (`blobs/`), links included. */
  below(folder: string): AsyncIterable<string>;
  /** What to add to the message that something is missing. */
  readonly missingHint: string | undefined;
  close(): Promise<void>;
}

/** The most entries an archive may have: a hundred times what the largest known ones do. */
export const maxMembers = 2_000_000;

/**
 * The content of a file that must be there.
 * @throws AirliftError `damaged` where it is not
 */
export async function findMember(members: Members, path: string, namedBy: string): Promise<ByteRange> {
  const content = await members.find(path);
  if (content !== undefined) return content;
  throw new AirliftError(
    'damaged',
    `read ${members.file}: ${JSON.stringify(path)} is missing from the archive, although ${namedBy} lists it`,
    { hint: members.missingHint },
  );
}

/**
 * A document inside the archive, whole; undefined where there is none.
 * @param limit the most bytes it may have
 * @throws AirliftError `input` where it is larger
 */
export async function readMember(members: Members, path: string, limit: number): Promise<Buffer | undefined> {
  const content = await members.find(path);
  return content === undefined ? undefined : readWhole(content, limit, `${path} in ${members.file}`);
}

/**
 * All of a content.
 * @throws AirliftError `input` where there is more than `limit` bytes
 */
export async function readWhole(content: ByteRange, limit: number, what: string): Promise<Buffer> {
  if (content.size > limit)
    throw new AirliftError(
      'input',
      `read ${what}: too large; got ${content.size} bytes, want at most ${limit}`,
    );
  return content.read(0, content.size);
}
