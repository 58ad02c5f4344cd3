/**
 * BLAKE2b with 32 bytes of output (RFC 7693), for the checksum in minisign's secret key files: node:crypto has BLAKE2b with 64 bytes only,
 * which is another function. The checksum detects a wrong password; no signature depends on it.
 */

const mask = (1n << 64n) - 1n;

/** RFC 7693, section 2.6. */
const initial: readonly bigint[] = [
  0x6a09e667f3bcc908n,
  0xbb67ae8584caa73bn,
  0x3c6ef372fe94f82bn,
  0xa54ff53a5f1d36f1n,
  0x510e527fade682d1n,
  0x9b05688c2b3e6c1fn,
  0x1f83d9abfb41bd6bn,
  0x5be0cd19137e2179n,
];

/** RFC 7693, section 2.7; rounds 10 and 11 repeat rounds 0 and 1. */
const schedule: readonly (readonly number[])[] = [
  '0123456789abcdef',
  'ea489fd61c02b753',
  'b8c052fdae367194',
  '7931dcbe265a40f8',
  '905724afe1bc683d',
  '2c6a0b834d75fe19',
  'c51fed4a0763928b',
  'db7ec13950f4862a',
  '6fe9b308c2d714a5',
  'a2847615fb9e3cd0',
  '0123456789abcdef',
  'ea489fd61c02b753',
].map((row) => [...row].map((digit) => parseInt(digit, 16)));

/** The columns and diagonals of the state that a round mixes. */
const mixed: readonly (readonly [number, number, number, number])[] = [
  [0, 4, 8, 12],
  [1, 5, 9, 13],
  [2, 6, 10, 14],
  [3, 7, 11, 15],
  [0, 5, 10, 15],
  [1, 6, 11, 12],
  [2, 7, 8, 13],
  [3, 4, 9, 14],
];

const blockLength = 128;
const outputLength = 32;

function compress(state: bigint[], block: Buffer, length: number, isLast: boolean): void {
  const word = (at: number): bigint => block.readBigUInt64LE(at * 8);
  const work = [...state, ...initial];
  const get = (at: number): bigint => work[at] ?? 0n;
  const rotateInto = (at: number, from: number, bits: bigint): void => {
    const value = get(at) ^ get(from);
    work[at] = ((value >> bits) | (value << (64n - bits))) & mask;
  };
  work[12] = get(12) ^ BigInt(length);
  if (isLast) work[14] = get(14) ^ mask;
  for (const row of schedule)
    mixed.forEach(([a, b, c, d], index) => {
      work[a] = (get(a) + get(b) + word(row[2 * index] ?? 0)) & mask;
      rotateInto(d, a, 32n);
      work[c] = (get(c) + get(d)) & mask;
      rotateInto(b, c, 24n);
      work[a] = (get(a) + get(b) + word(row[2 * index + 1] ?? 0)) & mask;
      rotateInto(d, a, 16n);
      work[c] = (get(c) + get(d)) & mask;
      rotateInto(b, c, 63n);
    });
  state.forEach((value, at) => (state[at] = value ^ get(at) ^ get(at + 8)));
}

/** Computes the digest of a short message. */
export function blake2b256(message: Uint8Array): Buffer {
  const state = [...initial];
  // Parameter block: 32 bytes of output, no key, fanout and depth 1 (RFC 7693, section 2.5).
  state[0] = (state[0] ?? 0n) ^ 0x01010000n ^ BigInt(outputLength);
  const blocks = Math.max(1, Math.ceil(message.length / blockLength));
  for (let index = 0; index < blocks; index++) {
    const block = Buffer.alloc(blockLength);
    block.set(message.subarray(index * blockLength, (index + 1) * blockLength));
    compress(state, block, Math.min((index + 1) * blockLength, message.length), index === blocks - 1);
  }
  const output = Buffer.alloc(64);
  state.forEach((value, at) => output.writeBigUInt64LE(value, at * 8));
  return output.subarray(0, outputLength);
}
