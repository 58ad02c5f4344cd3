/** The part of zstd-codec's raw binding that is used here. */
declare module 'zstd-codec/lib/module.js' {
  /** A compressor in the memory of the WebAssembly module, which `delete` frees; nothing else does. */
  interface ZstdCompressStreamBinding {
    begin(level: number): boolean;
    transform(chunk: Uint8Array, output: (compressed: Uint8Array) => void): boolean;
    end(output: (compressed: Uint8Array) => void): boolean;
    delete(): void;
  }

  export interface ZstdBinding {
    ZstdCompressStreamBinding: new () => ZstdCompressStreamBinding;
  }

  /** Calls back once the WebAssembly module is ready. */
  export function run(ready: (binding: ZstdBinding) => void): void;
}
