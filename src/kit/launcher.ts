import { hexOf } from '../oci/digest.js';
import type { KitFiles } from './files.js';
import type { KitExecutable } from './summary.js';

/** Returns the launcher for executables: `launcher.sh` with its placeholders replaced. */
export function launcherFor(
  { launcher, version }: Pick<KitFiles, 'launcher' | 'version'>,
  executables: readonly Pick<KitExecutable, 'platform' | 'file' | 'digest' | 'size'>[],
): Buffer {
  const lines = executables.map(
    ({ platform, file, digest, size }) => `${platform} ${file} ${hexOf(digest)} ${size}`,
  );
  return Buffer.from(launcher.replace('@VERSION@', version).replace('@EXECUTABLES@', lines.join('\n')));
}
