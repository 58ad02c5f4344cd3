import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';

/** Returns bytes that compress like software: repetitive text between incompressible parts. The same on every run. */
export function sample(size: number): Buffer {
  const out = Buffer.alloc(size);
  for (let at = 0, turn = 0; at < size; turn++) {
    const noise = createHash('sha512').update(String(turn)).digest();
    at += noise.copy(out, at);
    at += out.write(`usr/lib/module-${turn % 97}/file-${turn}.so `.repeat(3), at);
  }
  return out;
}

/** Returns bytes as a stream of chunks that do not share memory. */
export function chunked(bytes: Buffer, size: number): Readable {
  const chunks: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size) chunks.push(Buffer.from(bytes.subarray(at, at + size)));
  return Readable.from(chunks);
}
