import { createHash, type Hash } from 'node:crypto';
import { Transform } from 'node:stream';
import { AirliftError } from '../errors.js';

declare const digestBrand: unique symbol;

/** A checked content digest, `algorithm:hex`, e.g. `sha256:9f2c…` (OCI image-spec, descriptor.md, Digests). */
export type Digest = string & { readonly [digestBrand]: true };

/** The registered algorithms, with the length of their hex form. */
const hexLengths = { sha256: 64, sha512: 128 } as const;
export type DigestAlgorithm = keyof typeof hexLengths;

/** Whether `text` is a digest of a registered algorithm in its canonical (lower case) form. */
export function isDigest(text: unknown): text is Digest {
  if (typeof text !== 'string') return false;
  const match = /^(sha256|sha512):([0-9a-f]+)$/.exec(text);
  return match !== null && match[2]?.length === hexLengths[match[1] as DigestAlgorithm];
}

/**
 * Checks `text` and returns it as a Digest.
 * @throws AirliftError `input` where it is not `sha256:` or `sha512:` with lower case hex of the right length
 */
export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text;
  throw new AirliftError(
    'input',
    `parse digest ${JSON.stringify(text.slice(0, 160))}: not a sha256 or sha512 digest`,
  );
}

/** The algorithm of a digest: the part before the colon. */
export function algorithmOf(digest: Digest): DigestAlgorithm {
  return digest.slice(0, digest.indexOf(':')) as DigestAlgorithm;
}

/** The hex of a digest: the part after the colon. */
export function hexOf(digest: Digest): string {
  return digest.slice(digest.indexOf(':') + 1);
}

/** The digest of bytes held in memory. */
export function digestOf(bytes: Uint8Array, algorithm: DigestAlgorithm = 'sha256'): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}` as Digest;
}

/** Counts and hashes content as it passes, and says at its end whether it is what was promised. */
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

  /** Bytes seen so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** One that has seen the same so far. */
  clone(): Verifier {
    return new Verifier(this.digest, this.size, this);
  }

  /** The digest of what was seen so far, by the same algorithm, as bytes. */
  soFar(): Buffer {
    return this.#hash.copy().digest();
  }

  /**
   * Takes the next chunk.
   * @throws AirliftError `size-mismatch` as soon as there is more than the promised size; that chunk does not count
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
   * Ends the content.
   * @throws AirliftError `size-mismatch` where it was short, `digest-mismatch` where the bytes differ
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

/** A stream that passes content on and fails where it is not what `digest` and `size` promise. */
export function verifyStream(digest: Digest, size: number): Transform {
  const verifier = new Verifier(digest, size);
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      try {
        verifier.update(chunk);
        done(null, chunk);
      } catch (error) {
        done(error as Error);
      }
    },
    flush(done) {
      try {
        verifier.end();
        done();
      } catch (error) {
        done(error as Error);
      }
    },
  });
}
