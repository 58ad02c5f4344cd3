/** The parts that minisign's files share: comment lines and base64 lines (jedisct1.github.io/minisign, "Signature format"). */
import { AirliftError } from '../errors.js';

/** The largest key or signature file that airlift reads (bytes). minisign's own comments have at most 8192 bytes. */
export const maxSignatureFile = 32 * 1024;

export const untrustedPrefix = 'untrusted comment: ';
export const trustedPrefix = 'trusted comment: ';

/**
 * Splits a file into its lines; the last one may lack its line break.
 * @throws AirliftError `input` unless there are exactly `count` lines
 */
export function linesOf(bytes: Uint8Array, count: number, name: string): string[] {
  if (bytes.length > maxSignatureFile)
    throw new AirliftError(
      'input',
      `read ${name}: too large; got ${bytes.length} bytes, want at most ${maxSignatureFile}`,
    );
  const lines = Buffer.from(bytes)
    .toString('utf8')
    .replace(/\r?\n$/, '')
    .split(/\r?\n/);
  if (lines.length !== count)
    throw new AirliftError('input', `read ${name}: got ${lines.length} lines, want ${count}`);
  return lines;
}

/**
 * Decodes a line of standard base64.
 * @throws AirliftError `input` unless it holds exactly `length` bytes
 */
export function base64Of(line: string, length: number, name: string): Buffer {
  const bytes = Buffer.from(line, 'base64');
  // Buffer skips characters that are not base64.
  if (bytes.length !== length || bytes.toString('base64') !== line)
    throw new AirliftError('input', `read ${name}: not ${length} bytes in base64`);
  return bytes;
}

/** Formats the 8 bytes of a key's id as minisign prints it: a little-endian number in hexadecimal. */
export function formatKeyId(id: Uint8Array): string {
  return Buffer.from(id).reverse().toString('hex').toUpperCase();
}
