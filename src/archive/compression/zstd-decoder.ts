import { ZSTDDecoder } from 'zstddec/stream';
import { FrameSplitter, ZstdFrameError } from './zstd-frames.js';

/**
 * Decodes zstd frames (RFC 8878) in this thread, in outputs of at most 128 KiB. Each input is used up when the next one is taken: its memory
 * may be used again.
 * @param onInput called with the size of each part of an input when the decoder takes it
 * @throws ZstdFrameError
 */
export async function* decodeZstd(
  input: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  onInput: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  // With fetch, the decoder loads its WebAssembly from a data: URL, which loads an HTTP client first and doubles the startup time.
  Reflect.deleteProperty(globalThis, 'fetch');
  const decoder = new ZSTDDecoder();
  await decoder.init();
  const splitter = new FrameSplitter();
  /** Pieces of frames that the decoder has not taken. */
  let pieces: Uint8Array[] = [];
  let taken = 0;
  function* take(): Generator<Uint8Array> {
    for (let piece = pieces.shift(); piece !== undefined; piece = pieces.shift()) {
      taken++;
      onInput(piece.byteLength);
      yield piece;
    }
  }
  // The decoder ends when it finds no piece: it may look for one only when there is one, or when no more follow.
  const outputs = decoder.decodeStreaming(take());
  let stuck = 0;
  function* decoded(isEnd: boolean): Generator<Uint8Array> {
    while (isEnd || pieces.length > 0) {
      const before = taken;
      const { value, done } = outputs.next();
      if (done === true) return;
      // After an error the decoder neither consumes nor produces anything, forever.
      stuck = value.byteLength === 0 && taken === before ? stuck + 1 : 0;
      if (stuck === 2)
        throw new ZstdFrameError('corrupt', 'a block does not decode, or its checksum is wrong');
      if (value.byteLength > 0) yield value;
    }
  }
  for await (const chunk of input) {
    pieces = splitter.split(chunk);
    yield* decoded(false);
  }
  if (!splitter.complete) throw new ZstdFrameError('truncated', 'ends inside a frame');
  yield* decoded(true);
}
