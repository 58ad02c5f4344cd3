import { AirliftError } from '../errors.js';

/** Limits for an untrusted JSON document. A limit of bytes is not enough: `[[],[],…` takes 15 times its size in memory. */
export interface JsonLimits {
  readonly bytes: number;
  /** Members, items and containers together. */
  readonly values: number;
  readonly depth: number;
}

/** Limits for a manifest, index, config, token or other response: an index of 8,000 children has fewer values. */
export const documentLimits: JsonLimits = { bytes: 8 * 1024 * 1024, values: 250_000, depth: 64 };

/** Limits for a list of images, such as `index.json` or docker's `manifest.json`: 100,000 images have fewer values. */
export const listLimits: JsonLimits = { bytes: 32 * 1024 * 1024, values: 2_000_000, depth: 64 };

const [quote, backslash, comma, colon] = [0x22, 0x5c, 0x2c, 0x3a];

/** Returns the offset after the closing quote of the string whose opening quote is at `from - 1`, or the end of the bytes. */
function endOfString(bytes: Buffer, from: number): number {
  for (let at = bytes.indexOf(quote, from); at >= 0; at = bytes.indexOf(quote, at + 1)) {
    let backslashes = 0;
    while (bytes[at - 1 - backslashes] === backslash) backslashes++;
    if (backslashes % 2 === 0) return at + 1;
  }
  return bytes.length;
}

/** Describes how a document exceeds its limits; undefined if it does not. Runs before the parser allocates anything. */
function excessOf(bytes: Buffer, limits: JsonLimits): string | undefined {
  if (bytes.length > limits.bytes)
    return `too large; got ${bytes.length} bytes, want at most ${limits.bytes}`;
  let [values, depth] = [0, 0];
  for (let at = 0; at < bytes.length;) {
    const byte = bytes[at++];
    if (byte === quote) at = endOfString(bytes, at);
    else if (byte === comma || byte === colon) values++;
    else if (byte === 0x5b || byte === 0x7b) {
      values++;
      if (++depth > limits.depth) return `nested too deep; want at most ${limits.depth} levels`;
    } else if (byte === 0x5d || byte === 0x7d) depth--;
    if (values > limits.values) return `too many values; want at most ${limits.values}`;
  }
  return undefined;
}

/** Reports whether text begins like an HTML page. */
export function isHtmlText(text: string): boolean {
  return /^\s*<(?:!doctype|html)/i.test(text);
}

/** The hint for an HTML page in place of a registry's response. */
export const htmlHint =
  'a proxy or a login page answered instead of the registry, or the host is not a registry';

/**
 * Parses untrusted JSON: every document that airlift did not write itself in this run.
 * @param what the document, for messages
 * @throws AirliftError `input` if it exceeds a limit or is not JSON; never quotes the content, which may be a secret
 */
export function parseJson(
  source: Uint8Array | string,
  what: string,
  limits: JsonLimits = documentLimits,
): unknown {
  const bytes =
    typeof source === 'string'
      ? Buffer.from(source)
      : Buffer.from(source.buffer, source.byteOffset, source.byteLength);
  const excess = excessOf(bytes, limits);
  if (excess !== undefined) throw new AirliftError('input', `parse ${what}: ${excess}`);
  try {
    return JSON.parse(typeof source === 'string' ? source : bytes.toString('utf8')) as unknown;
  } catch (cause) {
    throw new AirliftError('input', `parse ${what}: not JSON`, { cause });
  }
}
