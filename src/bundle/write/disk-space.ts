import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AirliftError } from '../../errors.js';

/** Formats a size with a binary unit, and in bytes. */
function formatSize(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return unit === 0 ? `${bytes} bytes` : `${value.toFixed(1)} ${units[unit]} (${bytes} bytes)`;
}

/**
 * Checks that the disk has room for a file.
 * @param path of the file
 * @param want bytes that will be written to it
 * @throws AirliftError `no-space` with both figures
 */
export async function checkDiskSpace(path: string, want: number): Promise<void> {
  let free: number;
  try {
    const { bavail, bsize } = await statfs(dirname(path));
    free = bavail * bsize;
  } catch {
    // Some network filesystems do not report free space; writing will fail instead.
    return;
  }
  if (want > free) {
    throw new AirliftError(
      'no-space',
      `write ${path}: not enough space on the disk; got ${formatSize(free)} free, want ${formatSize(want)}`,
      {
        hint: 'free some space and run the same command again, or write to another disk',
      },
    );
  }
}
