import { AirliftError } from '../errors.js';

const sizeUnits: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  m: 1e6,
  g: 1e9,
  t: 1e12,
  ki: 2 ** 10,
  mi: 2 ** 20,
  gi: 2 ** 30,
  ti: 2 ** 40,
};

/**
 * Parses the size of volumes as `split` reads it: `4G` is 4 GiB, `4GB` is 4,000,000,000 bytes, a bare number is bytes; or `fat32`.
 * @throws AirliftError `usage`
 */
export function parseVolumeSize(flag: string, text: string): number | 'fat32' {
  if (text.trim().toLowerCase() === 'fat32') return 'fat32';
  const [, number = '', unit = ''] = /^(\d+)([kmgt]?)$/i.exec(text.trim()) ?? [];
  if (number !== '' && unit !== '') return parseSize(flag, `${number}${unit}i`);
  try {
    return parseSize(flag, text);
  } catch (error) {
    if (!(error instanceof AirliftError)) throw error;
    throw new AirliftError('usage', error.message, {
      hint: `--${flag} fat32 for a FAT32 stick, or --${flag} 16G (powers of 1024)`,
    });
  }
}

/**
 * Parses `--volume-size`; undefined without the flag.
 * @throws AirliftError `usage`
 */
export function volumeSizeOf({
  volumeSize,
}: {
  readonly volumeSize?: string | undefined;
}): number | 'fat32' | undefined {
  return volumeSize === undefined ? undefined : parseVolumeSize('volume-size', volumeSize);
}

const durationUnits: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/**
 * Parses the size in a flag: `32M` and `32MB` are powers of 1000, `32Mi` and `32MiB` powers of 1024.
 * @returns bytes, at least 1
 * @throws AirliftError `usage`
 */
export function parseSize(flag: string, text: string): number {
  const [, digits = '', unit = ''] = /^(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?$/i.exec(text.trim()) ?? [];
  const bytes = Math.floor(Number(digits) * (sizeUnits[unit.toLowerCase()] ?? NaN));
  if (digits !== '' && Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  throw new AirliftError('usage', `--${flag}: not a size; got ${JSON.stringify(text)}`, {
    hint: `--${flag} 32M (powers of 1000) or --${flag} 32Mi (powers of 1024)`,
  });
}

/**
 * Parses the duration in a flag: `500ms`, `30s`, `5m`, `1h`; a bare number is seconds.
 * @returns milliseconds
 * @throws AirliftError `usage`
 */
export function parseDuration(flag: string, text: string): number {
  const [, digits = '', unit = 's'] = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h)?$/.exec(text.trim()) ?? [];
  const milliseconds = Math.round(Number(digits) * (durationUnits[unit] ?? NaN));
  // Timers hold 32-bit signed values.
  if (digits !== '' && milliseconds < 2 ** 31) return milliseconds;
  throw new AirliftError('usage', `--${flag}: not a duration; got ${JSON.stringify(text)}`, {
    hint: `--${flag} 500ms, 30s, 5m or 1h`,
  });
}
