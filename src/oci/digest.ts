import { createHash, type Hash } from 'node:crypto';
import { AirliftError } from '../errors.js';

declare const digestBrand: unique symbol;

/** A valid content digest, `algorithm:hex`, e.g. `sha256:9f2c…` (OCI image-spec, descriptor.md, Digests). */
export type Digest = string & { readonly [digestBrand]: true };

/** The registered algorithms, with the length of their digests in hex. */
const hexLengths = { sha256: 64, sha512: 128 } as const;
export type DigestAlgorithm = keyof typeof hexLengths;

/** Reports whether `text` is a digest of a registered algorithm in its canonical (lower case) form. */
export function isDigest(text: unknown): text is Digest {
  if (typeof text !== 'string') return false;
  const match = /^(sha256|sha512):([0-9a-f]+)$/.exec(text);
  return match !== null && match[2]?.length === hexLengths[match[1] as DigestAlgorithm];
}

/**
 * Checks `text` and returns it as a Digest.
 * @throws AirliftError `input` if it is not `sha256:` or `sha512:` with lower case hex of the right length
 */
export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text;
  throw new AirliftError(
    'input',
    `parse digest ${JSON.stringify(text.slice(0, 160))}: not a sha256 or sha512 digest`,
  );
}

/** Returns the algorithm of a digest: the part before the colon. */
export function algorithmOf(digest: Digest): DigestAlgorithm {
  return digest.slice(0, digest.indexOf(':')) as DigestAlgorithm;
}

/** Returns the hex form of a digest: the part after the colon. */
export function hexOf(digest: Digest): string {
  return digest.slice(digest.indexOf(':') + 1);
}

/** Returns the digest of bytes in memory. */
export function digestOf(bytes: Uint8Array, algorithm: DigestAlgorithm = 'sha256'): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}` as Digest;
}

/** Counts and hashes content, and compares it with a descriptor at the end. */
export class Verifier {
  readonly #hash: Hash;
  #bytes = 0;

  constructor(
    readonly digest: Digest,
    readonly size: number,
    before?: Verifier,
  ) {
    this.#hash = before === undefined ? createHash(algorithmOf(digest)) : before.#hash.copy();
    this.#bytes = before?.bytes ?? 0;
  }

  /** The number of bytes so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Returns a verifier with the same state. */
  clone(): Verifier {
    return new Verifier(this.digest, this.size, this);
  }

  /** Returns the digest of the bytes so far, by the same algorithm, as bytes. */
  soFar(): Buffer {
    return this.#hash.copy().digest();
  }

  /**
   * Adds the next chunk.
   * @throws AirliftError `size-mismatch` if the content exceeds the expected size; that chunk is not counted
   */
  update(chunk: Uint8Array): void {
    const bytes = this.#bytes + chunk.byteLength;
    if (bytes > this.size) {
      throw new AirliftError(
        'size-mismatch',
        `verify blob ${this.digest}: more content than the descriptor says; got at least ${bytes} bytes, want ${this.size}`,
      );
    }
    this.#bytes = bytes;
    this.#hash.update(chunk);
  }

  /**
   * Verifies the content at its end.
   * @throws AirliftError `size-mismatch` if it is too short, `digest-mismatch` if the bytes differ
   */
  end(): void {
    if (this.#bytes !== this.size) {
      throw new AirliftError(
        'size-mismatch',
        `verify blob ${this.digest}: content ended early; got ${this.#bytes} bytes, want ${this.size}`,
      );
    }
    const got = `${algorithmOf(this.digest)}:${this.#hash.digest('hex')}`;
    if (got !== this.digest) {
      throw new AirliftError(
        'digest-mismatch',
        `verify blob ${this.digest}: digest mismatch after ${this.#bytes} bytes; got ${got}, want ${this.digest}`,
      );
    }
  }
}
