import { AirliftError, messageOf } from '../../errors.js';

/** The largest supported window: that of `zstd --long=27`, which is the limit of zstd's own decoder by default. */
const maxWindow = 2 ** 27;

/** The reason why zstd frames cannot be decoded. */
export type ZstdFault = 'corrupt' | 'truncated' | 'window' | 'dictionary';

/** Thrown by FrameSplitter where a header is corrupt or exceeds a limit. */
export class ZstdFrameError extends Error {
  constructor(
    readonly fault: ZstdFault,
    message: string,
  ) {
    super(message);
  }
}

/** Why decoding ended early, as plain data for worker threads. */
export interface ZstdFailure {
  readonly fault: ZstdFault;
  readonly message: string;
  /** Compressed bytes that were decoded. */
  readonly offset: number;
}

/** Converts what decoding threw after `offset` bytes to plain data. */
export function zstdFaultOf(error: unknown, offset: number): ZstdFailure {
  const fault = error instanceof ZstdFrameError ? error.fault : 'corrupt';
  return { fault, message: messageOf(error), offset };
}

/** Returns the error for zstd content that could not be decoded. */
export function zstdError({ fault, message, offset }: ZstdFailure, what: string): AirliftError {
  const at = `after ${offset} bytes of zstd`;
  switch (fault) {
    case 'truncated':
      return new AirliftError('damaged', `decompress ${what}: truncated ${at}`, {
        hint: 'the file is incomplete: copy or download it again',
      });
    case 'corrupt':
      return new AirliftError('damaged', `decompress ${what}: corrupt ${at}: ${message}`, {
        hint: 'the file is damaged: copy or download it again',
      });
    case 'window':
      return new AirliftError('unsupported', `decompress ${what}: ${message}`, {
        hint: 'unpack it first: zstd -dc --long=31 --memory=2048MB FILE > FILE.tar',
      });
    case 'dictionary':
      return new AirliftError('unsupported', `decompress ${what}: ${message}`);
  }
}

const frameMagic = 0xfd2fb528;
const skippableMagic = 0x184d2a50;
const maxBlock = 128 * 1024;

type Expected = 'magic' | 'skippable size' | 'descriptor' | 'header' | 'block' | 'checksum';

/**
 * Parses the headers of zstd frames (RFC 8878, section 3.1) without decoding blocks. The decoder, zstddec, has no limits of its own: this
 * rejects large windows and dictionaries before memory is allocated, passes on one frame at a time, and knows whether input that ends
 * is truncated.
 */
export class FrameSplitter {
  #expected: Expected = 'magic';
  /** Bytes of the header being collected, and how many it needs. */
  #header = Buffer.alloc(18);
  #have = 0;
  #want = 4;
  /** Bytes of the current block or skippable frame still to come. */
  #body = 0;
  #skippable = false;
  #lastBlock = false;
  #checksum = false;
  #blockLimit = maxBlock;
  #offset = 0;
  #contentSize: number | undefined = 0;

  /** Whether the input may end now: between two frames. */
  get complete(): boolean {
    return this.#expected === 'magic' && this.#have === 0 && this.#body === 0;
  }

  /** Compressed bytes seen. */
  get offset(): number {
    return this.#offset;
  }

  /** Bytes of content that the frames so far state; undefined as soon as one states none. */
  get contentSize(): number | undefined {
    return this.#contentSize;
  }

  /**
   * Cuts the next bytes into pieces that each belong to one frame.
   * @throws ZstdFrameError where a header is corrupt or exceeds a limit
   */
  split(chunk: Uint8Array): Uint8Array[] {
    const pieces: Uint8Array[] = [];
    let start = 0;
    let at = 0;
    while (at < chunk.byteLength) {
      if (this.#body > 0) {
        const taken = Math.min(this.#body, chunk.byteLength - at);
        this.#body -= taken;
        at += taken;
        this.#offset += taken;
        if (this.#body === 0) this.#bodyEnded();
      } else {
        const taken = Math.min(this.#want - this.#have, chunk.byteLength - at);
        this.#header.set(chunk.subarray(at, at + taken), this.#have);
        this.#have += taken;
        at += taken;
        this.#offset += taken;
        if (this.#have === this.#want) this.#headerEnded();
      }
      if (this.complete || at === chunk.byteLength) {
        pieces.push(chunk.subarray(start, at));
        start = at;
      }
    }
    return pieces;
  }

  #expect(expected: Expected, bytes: number): void {
    // The magic, descriptor and header of a frame are collected together; other headers separately.
    if (expected !== 'descriptor' && expected !== 'header') this.#have = 0;
    this.#expected = expected;
    this.#want = this.#have + bytes;
  }

  #bodyEnded(): void {
    if (this.#skippable || (this.#lastBlock && !this.#checksum)) this.#expect('magic', 4);
    else if (this.#lastBlock) this.#expect('checksum', 4);
    else this.#expect('block', 3);
  }

  #headerEnded(): void {
    switch (this.#expected) {
      case 'magic':
        return this.#magicEnded();
      case 'skippable size':
        this.#body = this.#header.readUInt32LE(0);
        this.#expect('magic', 4);
        if (this.#body === 0) this.#bodyEnded();
        return;
      case 'descriptor':
        return this.#descriptorEnded();
      case 'header':
        return this.#frameHeaderEnded();
      case 'block':
        return this.#blockHeaderEnded();
      case 'checksum':
        return this.#expect('magic', 4);
    }
  }

  #magicEnded(): void {
    const magic = this.#header.readUInt32LE(0);
    this.#skippable = false;
    if (magic === frameMagic) return this.#expect('descriptor', 1);
    if ((magic & 0xfffffff0) >>> 0 !== skippableMagic)
      throw new ZstdFrameError('corrupt', 'unexpected content after a zstd frame');
    this.#skippable = true;
    this.#expect('skippable size', 4);
  }

  #descriptorEnded(): void {
    const descriptor = this.#header.readUInt8(4);
    if ((descriptor & 0x08) !== 0) throw new ZstdFrameError('corrupt', 'reserved bit set in a frame header');
    this.#checksum = (descriptor & 0x04) !== 0;
    const single = (descriptor & 0x20) !== 0;
    const dictionary = [0, 1, 2, 4][descriptor & 0x03] as number;
    const size = [single ? 1 : 0, 2, 4, 8][descriptor >> 6] as number;
    const rest = (single ? 0 : 1) + dictionary + size;
    if (rest === 0) this.#frameHeaderEnded();
    else this.#expect('header', rest);
  }

  #frameHeaderEnded(): void {
    const descriptor = this.#header.readUInt8(4);
    const single = (descriptor & 0x20) !== 0;
    let at = 5;
    let window = 0;
    if (!single) {
      const byte = this.#header.readUInt8(at++);
      const base = 2 ** (10 + (byte >> 3));
      window = base + (base / 8) * (byte & 7);
    }
    const idLength = [0, 1, 2, 4][descriptor & 0x03] as number;
    const dictionary = idLength === 0 ? 0 : this.#header.readUIntLE(at, idLength);
    if (dictionary !== 0)
      throw new ZstdFrameError(
        'dictionary',
        `compressed with dictionary ${dictionary}, which is not available`,
      );
    at += idLength;
    const flag = descriptor >> 6;
    let size: number | undefined;
    if (flag === 0) size = single ? this.#header.readUInt8(at) : undefined;
    else if (flag === 1) size = this.#header.readUInt16LE(at) + 256;
    else if (flag === 2) size = this.#header.readUInt32LE(at);
    else size = Number(this.#header.readBigUInt64LE(at));
    if (single) window = size ?? 0;
    if (window > maxWindow)
      throw new ZstdFrameError('window', `needs a window of ${window} bytes; want at most ${maxWindow}`);
    this.#contentSize =
      this.#contentSize === undefined || size === undefined ? undefined : this.#contentSize + size;
    this.#blockLimit = Math.min(maxBlock, window);
    this.#expect('block', 3);
  }

  #blockHeaderEnded(): void {
    const header = this.#header.readUIntLE(0, 3);
    const type = (header >> 1) & 3;
    const size = header >> 3;
    if (type === 3) throw new ZstdFrameError('corrupt', 'reserved block type');
    // In frames smaller than 1 KiB, a block may be larger than the window.
    if (size > Math.max(this.#blockLimit, 1024))
      throw new ZstdFrameError('corrupt', `block of ${size} bytes is too large`);
    this.#lastBlock = (header & 1) !== 0;
    this.#body = type === 1 ? 1 : size;
    if (this.#body === 0) this.#bodyEnded();
  }
}
