import { AirliftError, messageOf, systemCodeOf } from '../../errors.js';

/** EFBIG: the filesystem, or `ulimit -f`, takes no larger file. */
const fileTooLargeHint =
  'the filesystem takes no file of this size (FAT32 ends at 4 GiB; ulimit -f shows a limit of the shell): write to another one, such as exFAT or ext4, or export fewer images at a time';

const hints: Readonly<Record<string, string>> = {
  EACCES: 'check the permissions of the file and of its directory',
  EPERM: 'check the permissions of the file and of its directory',
  EROFS: 'the filesystem is mounted read-only',
  EFBIG: fileTooLargeHint,
  ENOENT: 'make the directory first, or name another',
  ENOTDIR: 'a part of the path is a file: name another directory',
};

export const noSpaceHint = 'free some space and run the same command again to resume';

/**
 * An error of the operating system as an AirliftError: `no-space` where the disk or quota is full, else `io`.
 * @param attempted what was tried and on what, e.g. `write site.tar.partial`
 */
export function ioError(attempted: string, cause: unknown): AirliftError {
  const code = systemCodeOf(cause) ?? '';
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new AirliftError('no-space', `${attempted}: no space left on the device (${code})`, {
      cause,
      hint: noSpaceHint,
    });
  const text = messageOf(cause)
    .replace(/^E[A-Z0-9]+: /, '')
    .replace(/, [a-z]+( '.*')?$/s, '');
  return new AirliftError('io', `${attempted}: ${text}${code === '' ? '' : ` (${code})`}`, {
    cause,
    hint: hints[code],
  });
}
