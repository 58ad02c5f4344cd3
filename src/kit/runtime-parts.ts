import { createGunzip } from 'node:zlib';
import { Readable } from 'node:stream';
import { AirliftError, messageOf } from '../errors.js';
import { StreamCursor } from '../io/byte-range.js';
import { digestOf } from '../oci/digest.js';
import { scanTar } from '../tar/scan.js';
import { licensePath, programPath, tarballName, type Runtime } from './runtimes.js';

/** The most entries and the largest licence file to read: the tarball has 140 entries, its licences have 160 kB. */
const maxEntries = 10_000;
const maxLicense = 4 * 1024 * 1024;

/** The parts of a runtime's tarball that a kit needs. */
export interface RuntimeParts {
  readonly runtime: Pick<Runtime, 'platform' | 'package' | 'version' | 'integrity' | 'program'>;
  readonly program: Buffer;
  readonly license: Buffer;
}

/**
 * Reads the executable and the licences from a tarball.
 * @throws AirliftError `damaged` if the tarball lacks one, `digest-mismatch` if the executable is not the pinned one
 */
export async function readParts(tarball: Buffer, runtime: Runtime): Promise<RuntimeParts> {
  const what = tarballName(runtime);
  let program: Buffer | undefined;
  let license: Buffer | undefined;
  const unpacked = Readable.from([tarball]).pipe(createGunzip());
  try {
    for await (const { name, size, head } of scanTar(new StreamCursor(unpacked), what, maxEntries)) {
      if (name === programPath && size === runtime.programSize) program = await head(size);
      if (name === licensePath && size <= maxLicense) license = await head(size);
      if (program !== undefined && license !== undefined) break;
    }
  } catch (cause) {
    throw cause instanceof AirliftError
      ? cause
      : new AirliftError('damaged', `read ${what}: ${messageOf(cause)}`, { cause });
  } finally {
    unpacked.destroy();
  }
  if (program === undefined || license === undefined)
    throw new AirliftError('damaged', `read ${what}: ${programPath} or ${licensePath} is missing`);
  const got = digestOf(program);
  if (got !== runtime.program)
    throw new AirliftError(
      'digest-mismatch',
      `read ${programPath} of ${what}: digest mismatch; got ${got}, want ${runtime.program}`,
    );
  return { runtime, program, license };
}
