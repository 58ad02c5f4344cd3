import { createHash } from 'node:crypto';
import { isDigest, type Digest } from '../oci/digest.js';

/** The letters of check words: all but those that look like a digit. */
const letters = 'abcdefghjkmnpqrstuvwxyz';
const checkLength = 4;

/**
 * Returns the four letters that end a line, for finding typing errors: the first four digits of the SHA-256 of `text` in base 23, as a
 * number of 48 bits.
 */
function checkLetters(text: string): string {
  let rest = createHash('sha256').update(text).digest().readUIntBE(0, 6);
  let check = '';
  for (let count = 0; count < checkLength; count++) {
    check += letters.charAt(rest % letters.length);
    rest = Math.floor(rest / letters.length);
  }
  return check;
}

/** A blob and its size; undefined if the size is unknown. */
export interface SizedDigest {
  readonly digest: Digest;
  readonly size: number | undefined;
}

/** Formats a digest, its size (`-` if it is unknown), and the check letters of both. */
export function formatSizedDigest({ digest, size }: SizedDigest): string {
  const text = `${digest} ${size ?? '-'}`;
  return `${text} ${checkLetters(text)}`;
}

/** Formats a digest and its check letters. */
export function formatCheckedDigest(digest: Digest): string {
  return `${digest} ${checkLetters(digest)}`;
}

/** Replaces letters that are typed for digits; no hexadecimal digit looks like them. */
function asDigits(text: string): string {
  return text.replaceAll('o', '0').replaceAll(/[il]/g, '1');
}

/** The parts of a typed line, or what is wrong with it. */
type Parsed<T> = T | string;

const hexLengths: Readonly<Record<string, number>> = { sha256: 64, sha512: 128 };

/** Splits `sha256:HEX REST` without its spaces into the digest and the rest. */
function splitDigest(text: string): Parsed<{ digest: Digest; rest: string }> {
  const match = /^(sha256|sha512):?(.*)$/.exec(text);
  const [, algorithm = '', typed = ''] = match ?? [];
  const length = hexLengths[algorithm];
  if (length === undefined) return 'want sha256: or sha512: and a digest';
  const hex = asDigits(typed.slice(0, length));
  const digest = `${algorithm}:${hex}`;
  const wrong = /[^0-9a-f]/.exec(hex)?.index ?? hex.length;
  if (!isDigest(digest)) return `not a digest; got ${wrong} hexadecimal digits, want ${length}`;
  return { digest, rest: typed.slice(length) };
}

const mismatch =
  'a typing error: the digits do not match the check letters at the end; compare the line with the original, digit by digit';

/** Removes spaces and makes all letters lower case: neither matters in a typed line. */
function compact(text: string): string {
  return text.replaceAll(/\s/g, '').toLowerCase();
}

/**
 * Parses what {@link formatSizedDigest} formats, typed by hand: spaces and upper case do not matter, nor `O` for 0, `I` and `L` for 1.
 * @returns a text that says what is wrong
 */
export function parseSizedDigest(typed: string): Parsed<SizedDigest> {
  const split = splitDigest(compact(typed));
  if (typeof split === 'string') return split;
  const { digest, rest } = split;
  const check = rest.slice(-checkLength);
  const text = asDigits(rest.slice(0, -checkLength));
  if (!/^(?:\d{1,16}|-)$/.test(text) || !/^[a-z]+$/.test(check))
    return `want a size in bytes and ${checkLength} check letters after the digest`;
  if (checkLetters(`${digest} ${text}`) !== check) return mismatch;
  if (text === '-') return { digest, size: undefined };
  const size = Number(text);
  return Number.isSafeInteger(size) ? { digest, size } : `the size is too large; got ${size} bytes`;
}

/**
 * Parses what {@link formatCheckedDigest} formats, as {@link parseSizedDigest} does.
 * @returns a text that says what is wrong
 */
export function parseCheckedDigest(typed: string): Parsed<{ readonly digest: Digest }> {
  const split = splitDigest(compact(typed));
  if (typeof split === 'string') return split;
  return checkLetters(split.digest) === split.rest ? { digest: split.digest } : mismatch;
}
