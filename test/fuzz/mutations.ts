/** Random changes of a bundle, as damage or an attacker makes them. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { openForTampering, tamper } from '../bundle/verify/tamper.js';
import type { Dice } from '../torture/dice.js';

/** An entry of a plain archive, by the positions of its bytes. */
export interface Entry {
  readonly name: string;
  readonly begin: number;
  readonly content: number;
  readonly size: number;
  readonly end: number;
}

/** The bundle that the mutations change. */
export interface Whole {
  readonly path: string;
  readonly bytes: Buffer;
  readonly entries: readonly Entry[];
}

/** Lists all entries of a plain archive without long names. */
export function entriesOf(bytes: Buffer): Entry[] {
  const entries: Entry[] = [];
  let name = '';
  for (let at = 0, begin = 0; bytes[at] !== 0 && at < bytes.length;) {
    const own = bytes.toString('latin1', at, at + 100).replace(/\0.*/s, '');
    const size = parseInt(bytes.toString('latin1', at + 124, at + 135), 8);
    const content = at + 512;
    const end = content + Math.ceil(size / 512) * 512;
    const type = String.fromCharCode(bytes[at + 156] ?? 0);
    if (type === 'L') name = bytes.toString('latin1', content, content + size).replace(/\0.*/s, '');
    else {
      entries.push({ name: name === '' ? own : name, begin, content, size, end });
      name = '';
      begin = end;
    }
    at = end;
  }
  return entries;
}

const isSums = ({ name }: Entry): boolean => name === 'airlift/SHA256SUMS';

const hex = (content: Uint8Array): string => createHash('sha256').update(content).digest('hex');

/** Returns other text of the same length. */
function otherText(dice: Dice, text: string): string {
  if (text === '') return text;
  const at = dice.between(0, text.length - 1);
  const by = dice.pick(['a', '0', '/', ' ', '9', '\n', '\u0000', 'Z']);
  return text.slice(0, at) + by + text.slice(at + 1);
}

/** Changes a cell, or deletes or duplicates a row, in a table of the catalog. */
function changeCatalog(dice: Dice, path: string, content: Buffer): Buffer {
  const file = `${path}.catalog`;
  writeFileSync(file, content);
  const database = openForTampering(file);
  try {
    database.pragma('ignore_check_constraints = ON');
    database.pragma('foreign_keys = OFF');
    const tables = database
      .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
      .pluck()
      .all() as string[];
    const filled = tables.filter((table) => database.prepare(`SELECT 1 FROM "${table}"`).get() !== undefined);
    const table = dice.pick(filled as [string, ...string[]]);
    const rows = database.prepare(`SELECT * FROM "${table}"`).all() as Record<string, unknown>[];
    const row = dice.pick(rows as [Record<string, unknown>, ...Record<string, unknown>[]]);
    const columns = Object.keys(row) as [string, ...string[]];
    const where = columns.map((column) => `"${column}" IS ?`).join(' AND ');
    const values = columns.map((column) => row[column]);
    try {
      if (dice.isLucky(0.15)) database.prepare(`DELETE FROM "${table}" WHERE ${where}`).run(...values);
      else {
        const column = dice.pick(columns);
        const value = row[column];
        const other = dice.pick(rows as [Record<string, unknown>, ...Record<string, unknown>[]])[column];
        const changed = dice.pick<unknown>([
          null,
          other,
          typeof value === 'string' ? otherText(dice, value) : Number(value) + dice.between(-2, 2),
          dice.pick<unknown>(['', 'x', -1, 0, 2 ** 53, 1.5, '[]', '{"a":1}', Buffer.from([1])]),
        ]);
        // The same value would change nothing.
        if (changed === value) return content;
        database.prepare(`UPDATE "${table}" SET "${column}" = ? WHERE ${where}`).run(changed, ...values);
      }
    } catch (error) {
      // A constraint of the table rejects it: nothing has changed.
      assert.match(String(error), /constraint|datatype|cannot store/i);
    }
  } finally {
    database.close();
  }
  const changed = readFileSync(file);
  return changed.length === content.length ? changed : content;
}

/** Returns the bytes of a changed bundle; `path` may be used for work. */
export type Mutation = (dice: Dice, whole: Whole, path: string) => Promise<Buffer> | Buffer;

/** Kinds of changes. */
export const mutations: Readonly<Record<string, Mutation>> = {
  'a bit flipped anywhere': (dice, { bytes, entries }) => {
    const changed = Buffer.from(bytes);
    // Half of the flips hit the head and the manifests, which are few bytes.
    const most = dice.isLucky(0.5)
      ? (entries.find(({ name }) => name.startsWith('blobs/'))?.end ?? 0)
      : bytes.length - 1;
    const at = dice.between(0, most);
    changed[at] = (changed[at] ?? 0) ^ (1 << dice.between(0, 7));
    return changed;
  },
  'a cell of the catalog, with SHA256SUMS made to agree': async (dice, { bytes }, path) => {
    writeFileSync(path, bytes);
    await tamper(path, (content) => changeCatalog(dice, path, content));
    return readFileSync(path);
  },
  'text of index.json, with SHA256SUMS made to agree': (dice, { bytes, entries }) => {
    const changed = Buffer.from(bytes);
    const { content, size } = entries.find(({ name }) => name === 'index.json') as Entry;
    const sums = entries.find(({ name }) => name === 'airlift/SHA256SUMS') as Entry;
    const before = bytes.subarray(content, content + size);
    const at = content + dice.between(0, size - 1);
    const by = dice.pick(['"', '{', '}', ',', ':', '0', 'a', ' ', '\\', '\n', '[', '-']);
    changed.write(by.repeat(dice.pick([1, 1, 1, 3])), at, Math.min(3, content + size - at), 'latin1');
    const line = bytes.indexOf(hex(before), sums.content);
    changed.write(hex(changed.subarray(content, content + size)), line, 'latin1');
    return changed;
  },
  'a file cut off': (dice, { bytes }) =>
    bytes.subarray(
      0,
      dice.isLucky(0.3) ? bytes.length - dice.between(1, 2048) : dice.between(0, bytes.length - 1),
    ),
  'bytes added at the end': (dice, { bytes }) =>
    Buffer.concat([bytes, Buffer.alloc(dice.pick([1, 511, 512, 1024, 10_240]), dice.pick([0, 0, 7]))]),
  'two entries that change places': (dice, { bytes, entries }) => {
    const first = dice.between(0, entries.length - 2);
    const second = dice.between(first + 1, entries.length - 1);
    const at = (index: number): Buffer => {
      const { begin, end } = entries[index] as Entry;
      return bytes.subarray(begin, end);
    };
    const order = entries.map((_, index) => (index === first ? second : index === second ? first : index));
    return Buffer.concat([...order.map(at), bytes.subarray(entries.at(-1)?.end)]);
  },
  'an entry that is there twice, or missing': (dice, { bytes, entries }) => {
    const { begin, end } = dice.pick(entries as [Entry, ...Entry[]]);
    if (dice.isLucky(0.5)) return Buffer.concat([bytes.subarray(0, begin), bytes.subarray(end)]);
    const { end: behind } = dice.pick(entries as [Entry, ...Entry[]]);
    return Buffer.concat([bytes.subarray(0, behind), bytes.subarray(begin, end), bytes.subarray(behind)]);
  },
  'a line of a list of sums': (dice, { bytes, entries }) => {
    const name = dice.pick(['airlift/SHA256SUMS', 'airlift/SHA512SUMS']);
    const list = entries.find((entry) => entry.name === name) ?? (entries.find(isSums) as Entry);
    const lines = bytes
      .toString('latin1', list.content, list.content + list.size)
      .split('\n')
      .slice(0, -1);
    const [from, to] = [dice.between(0, lines.length - 1), dice.between(0, lines.length - 1)];
    const line = lines[from] ?? '';
    const name2 = line.slice(line.indexOf(' '));
    lines[to] = dice.pick([line, otherText(dice, line), `${(lines[to] ?? '').split(' ')[0]}${name2}`]);
    const changed = Buffer.from(bytes);
    // The entry keeps its size: a shorter list ends with empty lines, a longer one is cut.
    changed.write(
      `${lines.join('\n')}\n`.padEnd(list.size, '\n').slice(0, list.size),
      list.content,
      'latin1',
    );
    return changed;
  },
};
