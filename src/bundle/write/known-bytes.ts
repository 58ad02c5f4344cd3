import { blobPath } from '../../oci/image-layout.js';
import type { Digest } from '../../oci/digest.js';
import { encodeHeader, paddedLength } from '../../tar/header.js';
import type { BundleFile } from '../format/file.js';
import type { Journal } from '../journal/journal.js';
import { headBytes, type HeadEntry } from './head-build.js';

/** Bytes of a bundle that are known before its layers. */
interface Piece {
  readonly bytes: Uint8Array;
  readonly position: number;
  /** The digest that a manifest or config must have. */
  readonly digest?: Digest | undefined;
}

/** Yields in file order what is known: the head, if given, and for each blob its header, its content if the journal has it, and its padding. */
export function* knownPieces(journal: Journal, head: readonly HeadEntry[] | undefined): Generator<Piece> {
  const created = Number(journal.get('created'));
  let position = 0;
  for (const bytes of head === undefined ? [] : headBytes(head, created)) {
    yield { bytes, position };
    position += bytes.byteLength;
  }
  for (const page of journal.placement.contentPages()) {
    for (const { digest, size, offset, bytes } of page) {
      const begin = journal.start + offset;
      const header = encodeHeader(blobPath(digest), size, created);
      yield { bytes: header, position: begin - header.length };
      if (bytes !== null) yield { bytes, position: begin, digest };
      yield { bytes: Buffer.alloc(paddedLength(size) - size), position: begin + size };
    }
  }
}

/** Bytes that are gathered before they are written. */
const chunkSize = 1024 * 1024;

/** Writes many small pieces; adjacent ones in one system call. */
export class GatheringWriter {
  #pieces: Uint8Array[] = [];
  #begin = 0;
  #end = 0;

  constructor(private readonly file: BundleFile) {}

  /** Queues `bytes` for `position`. The caller must not change them until they are flushed. */
  put(bytes: Uint8Array, position: number): void {
    if (position !== this.#end || this.#end - this.#begin >= chunkSize) {
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

/** Writes pieces as far as the file has come, so that it grows from its start to its end. */
export class OrderedWriter {
  readonly #writer: GatheringWriter;
  #next: IteratorResult<Piece, unknown>;

  constructor(
    private readonly file: BundleFile,
    private readonly pieces: Generator<Piece>,
  ) {
    this.#writer = new GatheringWriter(file);
    this.#next = pieces.next();
  }

  /** Writes everything before a position that an earlier run has not written. */
  advanceTo(position: number): void {
    while (this.#next.done !== true && this.#next.value.position < position) {
      const piece = this.#next.value;
      if (!this.#isWritten(piece)) this.#writer.put(piece.bytes, piece.position);
      this.#next = this.pieces.next();
    }
    this.#writer.flush();
  }

  #isWritten({ bytes, position }: Piece): boolean {
    const found = Buffer.allocUnsafe(bytes.byteLength);
    return this.file.readSync(found, position) === bytes.byteLength && found.equals(bytes);
  }
}
