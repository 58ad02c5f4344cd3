import { AirliftError } from '../../errors.js';
import { formatBytes } from '../../oci/bytes.js';

/** Content that decompresses to more bytes than this, and to more than `bombRatio` times its size, counts as a decompression bomb. */
const bombFloor = 1024 * 1024 * 1024;
/** Image archives compress by a factor of 2 to 10; disk images full of zeros are rare in them. */
const bombRatio = 500;

/**
 * Checks the proportion of content that is being decompressed.
 * @param packed compressed bytes so far
 * @param unpacked decompressed bytes so far
 * @throws AirliftError `damaged` where it shows a decompression bomb
 */
export function refuseBomb(what: string, packed: number, unpacked: number): void {
  if (unpacked <= bombFloor || unpacked <= packed * bombRatio) return;
  throw new AirliftError(
    'damaged',
    `decompress ${what}: suspected decompression bomb: ${formatBytes(packed)} unpack to more than ${formatBytes(unpacked)}`,
    { hint: 'if the content is genuine, unpack the file first and import the .tar' },
  );
}
