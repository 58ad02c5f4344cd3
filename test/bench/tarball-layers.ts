/** Contents of the layers in a vendor's tarballs. All depend only on their arguments and on the files of the system. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { noise } from '../support/content.js';
import { elfFile } from '../support/elf.js';
import { tarHeader, tarPadding } from '../support/tar.js';

/** Bytes that are made or read each time they are opened. */
export interface Bytes {
  readonly size: number;
  open(): Iterable<Buffer>;
}

/** An uncompressed layer. */
export type RawLayer = Bytes;

const endOfTar = Buffer.alloc(1024);

/** Returns the tar of files. */
function rawLayer(files: readonly Bytes[], nameOf = (number: number) => `files/${number}`): RawLayer {
  const size = files.reduce(
    (total, file) => total + 512 + file.size + tarPadding(file.size),
    endOfTar.length,
  );
  return {
    size,
    *open() {
      for (const [number, file] of files.entries()) {
        yield tarHeader({ name: nameOf(number), mode: 0o755 }, file.size);
        yield* file.open();
        yield Buffer.alloc(tarPadding(file.size));
      }
      yield endOfTar;
    },
  };
}

/** Returns the layer with an image's program, `/bin/app`: a file with the ELF header of the platform. */
export function entrypointLayer(platform: string, name: string): RawLayer {
  const program = elfFile(platform, `\n${name} for ${platform}\n`);
  return rawLayer([{ size: program.length, open: () => [program] }], () => 'bin/app');
}

/** Returns numbers from 0 to 2^32 - 1 that depend only on `seed` (xorshift). */
function randomNumbers(seed: string): () => number {
  let state = createHash('sha256').update(seed).digest().readUInt32LE(0) || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>>= 0);
  };
}

const poolSize = 16 << 20;

/** Returns text of made-up words, frequent and rare ones. gzip reduces it to about a third. */
function textPool(): Buffer {
  const random = randomNumbers('text');
  const words = Array.from({ length: 20_000 }, () => {
    const letters = 2 + (random() % 9);
    return Array.from({ length: letters }, () => 'etaoinshrdlucmfwypvbgk'[random() % 22]).join('');
  });
  const pool = Buffer.alloc(poolSize);
  for (let at = 0; at < poolSize;) {
    const rank = Math.floor(20_000 ** ((random() % 65_536) / 65_536)) - 1;
    at += pool.write(`${words[rank] ?? ''}${random() % 12 === 0 ? '\n' : ' '}`, at);
  }
  return pool;
}

let pool: Buffer | undefined;

/** Returns a layer of about `bytes` bytes: files of 4 KiB to 2 MiB, half of the bytes text, half incompressible. */
export function mixedLayer(bytes: number, seed: string): RawLayer {
  const random = randomNumbers(seed);
  const text = (pool ??= textPool());
  const files: Bytes[] = [];
  for (let left = bytes; left > 0;) {
    const size = Math.min(left, 4096 * 2 ** (random() % 10));
    const number = files.length;
    const from = random() % (text.length - size);
    files.push(
      number % 2 === 0
        ? { size, open: () => [text.subarray(from, from + size)] }
        : { size, open: () => noise(size, `${seed} ${number}`) },
    );
    left -= size;
  }
  return rawLayer(files);
}

const programsDirectory = '/usr/lib';
/** Size of the largest file that is taken, so that layers are of similar size. */
const largestFile = 32 << 20;

/** Returns the paths of regular files below a directory, without links. */
function filesBelow(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) return filesBelow(path);
    return entry.isFile() ? [path] : [];
  });
}

/**
 * Returns layers with the files of installed programs: a fixed choice from `/usr/lib`, in the order of the digests of their paths, so
 * that all kinds of files are mixed. Together they have about `bytes` bytes, or fewer if there are no more files.
 */
export function programLayers(bytes: number, count: number): RawLayer[] {
  const key = (path: string): string => createHash('sha256').update(path).digest('hex');
  const paths = filesBelow(programsDirectory)
    .map((path) => ({ path, key: key(path) }))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
  const layers: Bytes[][] = Array.from({ length: count }, () => []);
  let total = 0;
  for (const { path } of paths) {
    if (total >= bytes) break;
    const { size } = statSync(path);
    if (size === 0 || size > largestFile) continue;
    layers[Math.min(count - 1, Math.floor((total / bytes) * count))]?.push({
      size,
      open: () => [readFileSync(path)],
    });
    total += size;
  }
  return layers.map((files) => rawLayer(files));
}
