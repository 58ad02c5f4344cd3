import type { IncomingHttpHeaders } from 'node:http';

/** Bytes from `start` (inclusive) to `end` (exclusive). */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/**
 * Reads the byte range that a GET requests (RFC 9110, section 14.2).
 * @returns undefined for the whole content, also where the server may send it instead, as for several ranges; `'unsatisfiable'` for a
 * range outside the content
 * @param etag the content's entity tag, for `If-Range`
 */
export function requestedRange(
  headers: IncomingHttpHeaders,
  size: number,
  etag: string,
): ByteRange | 'unsatisfiable' | undefined {
  const condition = headers['if-range'];
  if (headers.range === undefined || (condition !== undefined && condition !== etag)) return undefined;
  const match = /^bytes=(\d*)-(\d*)$/.exec(headers.range.replaceAll(' ', ''));
  const [, first = '', last = ''] = match ?? [];
  if (match === null || (first === '' && last === '')) return undefined;
  if (first === '') {
    const suffix = Math.min(Number(last), size);
    return suffix === 0 ? 'unsatisfiable' : { start: size - suffix, end: size };
  }
  if (last !== '' && Number(last) < Number(first)) return undefined;
  if (Number(first) >= size) return 'unsatisfiable';
  return { start: Number(first), end: last === '' ? size : Math.min(Number(last) + 1, size) };
}

/**
 * Reads the `Content-Range` of an uploaded chunk (distribution-spec, "Pushing a blob in chunks"): `<first>-<last>`, optionally preceded
 * by the unit, which some clients send.
 * @returns `'malformed'` for any other form
 */
export function chunkRange(headers: IncomingHttpHeaders): ByteRange | 'malformed' | undefined {
  const text = headers['content-range'];
  if (text === undefined) return undefined;
  const match = /^(?:bytes[ =])?(\d{1,15})-(\d{1,15})(?:\/(?:\d+|\*))?$/.exec(text);
  if (match === null || Number(match[2]) < Number(match[1])) return 'malformed';
  return { start: Number(match[1]), end: Number(match[2]) + 1 };
}
