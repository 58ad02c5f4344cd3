import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';

/** Bytes that look like software: repetitive text between runs that don't compress. The same on every run. */
export function sample(size: number): Buffer {
  const out = Buffer.alloc(size);
  for (let at = 0, turn = 0; at < size; turn++) {
    const noise = createHash('sha512').update(String(turn)).digest();
    at += noise.copy(out, at);
    at += out.write(`usr/lib/module-${turn % 97}/file-${turn}.so `.repeat(3), at);
  }
  return out;
}

/** Content in chunks, each with memory of its own. */
export function chunked(bytes: Buffer, size: number): Readable {
  const chunks: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size) chunks.push(Buffer.from(bytes.subarray(at, at + size)));
  return Readable.from(chunks);
}
