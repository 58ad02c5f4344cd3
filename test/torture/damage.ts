/** Damages the files of an interrupted export, as a power failure, a bad disk or a user might. */
import {
  existsSync,
  openSync,
  closeSync,
  ftruncateSync,
  readSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import type { Dice } from './dice.js';

function inPlace(path: string, work: (file: number, size: number) => void): void {
  const file = openSync(path, 'r+');
  try {
    work(file, statSync(path).size);
  } finally {
    closeSync(file);
  }
}

/** Flips one to three bits of a file. */
export function flip(path: string, dice: Dice): void {
  inPlace(path, (file, size) => {
    for (let left = dice.between(1, 3); left > 0; left--) {
      const at = dice.between(0, Math.max(0, size - 1));
      const byte = Buffer.alloc(1);
      if (readSync(file, byte, 0, 1, at) === 0) return;
      byte[0] = (byte[0] ?? 0) ^ (1 << dice.between(0, 7));
      writeSync(file, byte, 0, 1, at);
    }
  });
}

function cut(path: string, dice: Dice): void {
  inPlace(path, (file, size) => ftruncateSync(file, dice.between(0, size)));
}

/** Writes zeros, as data that was not synced may read after a power failure. */
function blank(path: string, dice: Dice): void {
  inPlace(path, (file, size) => {
    const at = dice.between(0, Math.max(0, size - 1));
    writeSync(file, Buffer.alloc(Math.min(size - at, dice.between(1, 2_000_000))), 0, undefined, at);
  });
}

const ways = { flip, cut, blank, remove: (path: string) => rmSync(path) };

/** Damages one of the files that an interrupted export to `output` left. Returns a description, or undefined without such files. */
export function damage(output: string, dice: Dice): string | undefined {
  const partial = `${output}.partial`;
  const [first, ...others] = [partial, partial, `${partial}.journal`, `${partial}.journal-wal`].filter(
    (path) => existsSync(path) && statSync(path).size > 0,
  );
  if (first === undefined) return undefined;
  const file = dice.pick([first, ...others]);
  const way = dice.pick(Object.keys(ways) as [keyof typeof ways]);
  ways[way](file, dice);
  return `${way} ${file.slice(output.length)}`;
}
