import { open } from 'node:fs/promises';
import { AirliftError, isAirliftError } from '../../errors.js';
import { word } from './nested.js';

/** The first byte of a file; undefined where it cannot be read. */
async function firstByte(path: string): Promise<string | undefined> {
  try {
    const file = await open(path);
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, 0).finally(() => file.close());
    return buffer.toString('latin1');
  } catch {
    return undefined;
  }
}

/**
 * An error about a file that is a part of an archive (`NAME.part001`), with the command that joins the parts. Zarf's part 000 is no part
 * of the archive but describes the others, in JSON.
 */
export async function withPartsHint(path: string, error: unknown): Promise<unknown> {
  const [, whole] = /^(.+)\.part\d{2,4}$/.exec(path) ?? [];
  if (whole === undefined || !isAirliftError(error, 'input', 'damaged')) return error;
  const isZarf = (await firstByte(`${whole}.part000`)) === '{';
  const parts = isZarf ? `$(ls ${word(whole)}.part* | grep -v 'part000$')` : `${word(whole)}.part*`;
  const hint = `the file is one part of several: cat ${parts} > ${word(whole)} && airlift import ${word(whole)} --to SITE`;
  return new AirliftError(error.code, error.message, { cause: error.cause, hint });
}
