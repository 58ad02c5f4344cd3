import { AirliftError, isOutOfSpace, messageOf, systemCodeOf } from '../../errors.js';

export const noSpaceHint = 'free some space and run the same command again to resume';

const hints: Readonly<Record<string, string>> = {
  EACCES: 'check the permissions of the file and of its directory',
  EPERM: 'check the permissions of the file and of its directory',
  EROFS: 'the filesystem is mounted read-only',
  EFBIG:
    'the filesystem does not allow files of this size (FAT32: at most 4 GiB; ulimit -f shows the limit of the shell): write volumes with `volumeSize`, or write to another filesystem, such as exFAT or ext4',
  ENOENT: 'create the directory first, or choose another one',
  ENOTDIR: 'a part of the path is a file: choose another directory',
  ENOSPC: noSpaceHint,
  EDQUOT: noSpaceHint,
};

/**
 * Converts an error of the operating system to an AirliftError: `no-space` if it refused to store more (`isOutOfSpace`), else `io`.
 * @param attempted the action and its object, for example `write site.tar.partial`
 * @param options.isInput the file should exist already
 */
export function ioError(attempted: string, cause: unknown, { isInput = false } = {}): AirliftError {
  const code = systemCodeOf(cause) ?? '';
  const isFull = code === 'ENOSPC' || code === 'EDQUOT';
  const text = isFull ? 'no space left on the device' : messageOf(cause);
  const happened = text.includes(code) ? text : `${text} (${code})`;
  const hint = isInput && code === 'ENOENT' ? 'check the path' : hints[code];
  return new AirliftError(isOutOfSpace(cause) ? 'no-space' : 'io', `${attempted}: ${happened}`, {
    cause,
    hint,
  });
}
