import { createReadStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { AirliftError, messageOf, systemCodeOf } from '../errors.js';
import { withoutSecrets } from '../oci/quoted.js';
import { maxListLength, type ListInput } from './read.js';

/** Name in messages of the list given as `-`. */
export const standardInput = 'standard input';

function decode(bytes: Buffer, file: string): string {
  // PowerShell's ">" writes UTF-16 with a byte order mark.
  const utf16 = bytes[0] === 0xff && bytes[1] === 0xfe;
  try {
    const text = new TextDecoder(utf16 ? 'utf-16le' : 'utf-8', { fatal: true }).decode(bytes);
    if (!text.includes('\0')) return text;
  } catch {
    // Not valid in this encoding: the error below.
  }
  throw new AirliftError('usage', `read ${file}: not text, so not an image list`, {
    hint: 'bundles and image archives are inputs of import, not lists',
  });
}

function refusal(error: unknown, file: string): AirliftError {
  const code = systemCodeOf(error);
  const happened =
    code === 'ENOENT'
      ? 'no such file'
      : code === 'EISDIR'
        ? 'is a directory'
        : messageOf(error).toLowerCase();
  return new AirliftError('io', `read ${withoutSecrets(file)}: ${happened}`, { cause: error });
}

async function readAll(stream: Readable, file: string): Promise<ListInput> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of stream as AsyncIterable<Buffer | string>) {
      const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
      size += bytes.length;
      if (size > maxListLength) break;
      chunks.push(bytes);
    }
  } catch (error) {
    throw refusal(error, file);
  } finally {
    stream.destroy();
  }
  if (size > maxListLength) {
    throw new AirliftError(
      'usage',
      `read ${file}: too large for an image list; want at most ${maxListLength} bytes`,
    );
  }
  return { file, text: decode(Buffer.concat(chunks), file) };
}

/**
 * Reads list files; `-` means `stdin`. Pass the result to `parseImageLists`.
 * @throws AirliftError `io` if a file cannot be read; `usage` if a file is too large or not text, or `-` is given twice
 */
export async function readListFiles(files: readonly string[], stdin?: Readable): Promise<ListInput[]> {
  if (files.filter((file) => file === '-').length > 1)
    throw new AirliftError('usage', 'read standard input: given twice; want at most once');
  const inputs: ListInput[] = [];
  for (const file of files) {
    if (file !== '-') inputs.push(await readAll(createReadStream(file), file));
    else if (stdin !== undefined) inputs.push(await readAll(stdin, standardInput));
    else throw new AirliftError('usage', 'read standard input: no stream is given for it');
  }
  return inputs;
}
