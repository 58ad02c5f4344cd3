import { readFile, realpath } from 'node:fs/promises';
import { sep } from 'node:path';

/**
 * Returns the type of the filesystem that holds a directory as Linux lists it, such as `ext4` or `fuseblk` (proc_pid_mountinfo(5));
 * undefined if the system does not tell.
 */
export async function mountTypeOf(directory: string): Promise<string | undefined> {
  try {
    const path = await realpath(directory);
    let best: { readonly point: string; readonly type: string } | undefined;
    for (const line of (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')) {
      const [mount = '', filesystem = ''] = line.split(' - ');
      const point = unescape(mount.split(' ')[4] ?? '');
      const [type = ''] = filesystem.split(' ');
      const isAbove = path === point || path.startsWith(point.endsWith(sep) ? point : `${point}${sep}`);
      // A later mount at the same point hides the earlier one.
      if (point !== '' && isAbove && point.length >= (best?.point.length ?? 0)) best = { point, type };
    }
    return best?.type;
  } catch {
    return undefined;
  }
}

/** Replaces octal escapes: `\040` is a space. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
