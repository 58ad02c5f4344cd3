import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AirliftError } from '../errors.js';

/** `f_type` of FAT on Linux (statfs(2)), and the most bytes of a file there. */
const fatType = 0x4d44;
const maxFatFile = 2 ** 32 - 1;

/** @throws AirliftError `no-space` if the filesystem cannot hold a file of this size */
export async function checkFileSize(path: string, size: number): Promise<void> {
  if (size <= maxFatFile) return;
  const type = await statfs(dirname(path)).then(
    (found) => found.type,
    () => undefined,
  );
  if (type !== fatType) return;
  throw new AirliftError(
    'no-space',
    `write ${path}: FAT32 holds files of at most ${maxFatFile} bytes; got ${size}`,
    { hint: 'format the medium as exFAT, or write volumes: airlift split' },
  );
}
