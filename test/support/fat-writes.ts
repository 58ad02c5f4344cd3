/**
 * A module for `node --import`: makes the process take every filesystem for FAT32, and records how it opens, writes and resizes files, as
 * lines of JSON in the file that FAT_WRITES names.
 */
import fs from 'node:fs';
import fsPromises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';

/** One operation on a file. */
export interface FileOperation {
  readonly path: string;
  readonly what: 'create' | 'write' | 'resize';
  readonly position: number;
  /** Bytes written; the new size of `resize`. */
  readonly length: number;
}

const log = process.env['FAT_WRITES'];
if (log !== undefined) {
  const { openSync, writevSync, ftruncate, closeSync, appendFileSync, constants, fstatSync } = fs;
  const { statfs } = fsPromises;
  const paths = new Map<number, string>();
  const record = (operation: FileOperation): void => appendFileSync(log, `${JSON.stringify(operation)}\n`);
  Object.assign(fsPromises, {
    statfs: async (path: string) => Object.assign(await statfs(path), { type: 0x4d44 }),
  });
  Object.assign(fs, {
    openSync: (path: string, flags?: string | number, mode?: number): number => {
      const isNew = !fs.existsSync(path);
      const descriptor = openSync(path, flags ?? 'r', mode);
      paths.set(descriptor, path);
      if (isNew && typeof flags === 'number' && (flags & constants.O_CREAT) !== 0)
        record({ path, what: 'create', position: 0, length: 0 });
      return descriptor;
    },
    closeSync: (descriptor: number): void => {
      paths.delete(descriptor);
      closeSync(descriptor);
    },
    writevSync: (
      descriptor: number,
      buffers: readonly NodeJS.ArrayBufferView[],
      position?: number,
    ): number => {
      const length = writevSync(descriptor, buffers, position);
      record({ path: paths.get(descriptor) ?? '', what: 'write', position: position ?? -1, length });
      return length;
    },
    ftruncate: (descriptor: number, length: number, done: (error: Error | null) => void): void => {
      if (length !== fstatSync(descriptor).size)
        record({ path: paths.get(descriptor) ?? '', what: 'resize', position: 0, length });
      ftruncate(descriptor, length, done);
    },
  });
  syncBuiltinESMExports();
}
