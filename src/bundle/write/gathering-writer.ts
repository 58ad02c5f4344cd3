import type { BundleFile } from '../format/file.js';

/** Bytes gathered before they are written. */
const gatherLimit = 1024 * 1024;

/** Writes many small pieces, those that touch one another in one go. */
export class GatheringWriter {
  #pieces: Uint8Array[] = [];
  #begin = 0;
  #end = 0;

  constructor(readonly file: BundleFile) {}

  /** Puts `bytes` at `position`; they are kept until `flush` or until enough came together. */
  put(bytes: Uint8Array, position: number): void {
    if (position !== this.#end || this.#end - this.#begin >= gatherLimit) {
      this.flush();
      this.#begin = position;
    }
    this.#pieces.push(bytes);
    this.#end = position + bytes.byteLength;
  }

  flush(): void {
    if (this.#pieces.length > 0) this.file.writevSync(this.#pieces, this.#begin);
    this.#pieces = [];
    this.#begin = this.#end;
  }
}
