/** Random changes of a bundle, as damage or an attacker makes them. */
import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { parseMinisig } from '../../src/signing/minisign.js';
import { encodeHeader, paddedLength } from '../../src/tar/header.js';
import type { Dice } from '../torture/dice.js';
import { changeBySql, changeCatalog, changeSurroundings, otherText, textOfCatalog } from './catalogs.js';

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

/** Returns the bundle with another catalog, and the digest of it in `SHA256SUMS`, as an attacker makes it. */
function withCatalog(bytes: Buffer, entries: readonly Entry[], content: Buffer): Buffer {
  const catalog = entries.find(({ name }) => name === 'airlift/catalog.db') as Entry;
  const sums = entries.find(isSums) as Entry;
  const before = bytes.subarray(catalog.content, catalog.content + catalog.size);
  const mtime = parseInt(bytes.toString('latin1', 136, 147), 8);
  const behind = Buffer.from(bytes.subarray(catalog.end));
  const line = behind.indexOf(hex(before), sums.content - catalog.end);
  behind.write(hex(content), line, 'latin1');
  return Buffer.concat([
    bytes.subarray(0, catalog.begin),
    encodeHeader(catalog.name, content.length, mtime),
    content,
    Buffer.alloc(paddedLength(content.length) - content.length),
    behind,
  ]);
}

function catalogOf(bytes: Buffer, entries: readonly Entry[]): Buffer {
  const { content, size } = entries.find(({ name }) => name === 'airlift/catalog.db') as Entry;
  return bytes.subarray(content, content + size);
}

/** Returns the bundle with a catalog that SQL has changed. */
export function withChangedCatalog({ bytes, entries }: Whole, path: string, sql: string): Buffer {
  return withCatalog(bytes, entries, changeBySql(path, catalogOf(bytes, entries), sql));
}

/** Reports whether a changed bundle says and carries the same: only the form of its catalog or comments of a signature may differ. */
export function isSameBundle({ bytes, entries }: Whole, changed: Buffer): boolean {
  const others = entriesOf(changed);
  const contentOf = (of: Buffer, { content, end }: Entry): Buffer => of.subarray(content, end);
  if (others.length !== entries.length) return false;
  const before = textOfCatalog(catalogOf(bytes, entries));
  const after = textOfCatalog(catalogOf(changed, others));
  if (before === undefined || before !== after) return false;
  for (const [at, entry] of entries.entries()) {
    const other = others[at] as Entry;
    if (other.name !== entry.name) return false;
    if (entry.name === 'airlift/catalog.db' || isSums(entry)) continue;
    if (entry.name.endsWith('.minisig')) {
      const parse = (of: Buffer, { content, size }: Entry): unknown =>
        parseMinisig(of.subarray(content, content + size), entry.name);
      if (!isDeepStrictEqual(parse(bytes, entry), parse(changed, other))) return false;
      continue;
    }
    if (!contentOf(bytes, entry).equals(contentOf(changed, other))) return false;
  }
  const end = (of: Buffer, list: readonly Entry[]): Buffer => of.subarray(list.at(-1)?.end);
  return end(bytes, entries).equals(end(changed, others));
}

/** Returns the bytes of a changed bundle; `path` may be used for work. */
export type Mutation = (dice: Dice, whole: Whole, path: string) => Buffer;

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
  'rows of the catalog, with SHA256SUMS made to agree': (dice, { bytes, entries }, path) =>
    withCatalog(bytes, entries, changeCatalog(dice, path, catalogOf(bytes, entries))),
  'the schema or a byte of the catalog, with SHA256SUMS made to agree': (dice, { bytes, entries }, path) =>
    withCatalog(bytes, entries, changeSurroundings(dice, path, catalogOf(bytes, entries))),
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
