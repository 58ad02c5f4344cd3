import { AirliftError } from '../errors.js';

/** Name of the note that holds the application (`FindSingleExecutableBlob` in src/node_sea.cc of Node.js). */
const noteName = 'NODE_SEA_BLOB';
/** Node.js looks for an application only if the digit after this text is 1. */
const fuse = Buffer.from('NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2:');

// ELF-64 (System V ABI, "Object Files" and "Program Loading").
const headerSize = 64;
const programHeaderSize = 56;
const ptLoad = 1;
const ptNote = 4;
const ptPhdr = 6;
const readable = 4;
/** The largest page size of the platforms, to which segments in memory are aligned: arm64 has pages of 64 KiB. */
const pageSize = 0x10000;
const noteAlignment = 4;

/** A program header without its physical address, which Linux ignores. */
interface Segment {
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly address: number;
  readonly fileSize: number;
  readonly memorySize: number;
  readonly alignment: number;
}

function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}

function unsuitable(why: string): AirliftError {
  return new AirliftError('input', `add airlift to the runtime: ${why}`);
}

function readSegments(runtime: Buffer): { segments: Segment[]; tableOffset: number } {
  const isElf64 = runtime.byteLength > headerSize && runtime.readUInt32BE(0) === 0x7f454c46;
  // 64-bit, little-endian.
  if (!isElf64 || runtime[4] !== 2 || runtime[5] !== 1) throw unsuitable('not an ELF-64 program');
  const field = (at: number): number => Number(runtime.readBigUInt64LE(at));
  const tableOffset = field(32);
  const count = runtime.readUInt16LE(56);
  if (runtime.readUInt16LE(54) !== programHeaderSize) throw unsuitable('program headers of another size');
  if (tableOffset + count * programHeaderSize > runtime.byteLength)
    throw unsuitable('truncated program headers');
  const segments = Array.from({ length: count }, (_, index) => {
    const at = tableOffset + index * programHeaderSize;
    return {
      type: runtime.readUInt32LE(at),
      flags: runtime.readUInt32LE(at + 4),
      offset: field(at + 8),
      address: field(at + 16),
      fileSize: field(at + 32),
      memorySize: field(at + 40),
      alignment: field(at + 48),
    };
  });
  return { segments, tableOffset };
}

function encodeSegment({ type, flags, offset, address, fileSize, memorySize, alignment }: Segment): Buffer {
  const bytes = Buffer.alloc(programHeaderSize);
  bytes.writeUInt32LE(type, 0);
  bytes.writeUInt32LE(flags, 4);
  const fields = [offset, address, address, fileSize, memorySize, alignment];
  fields.forEach((value, index) => bytes.writeBigUInt64LE(BigInt(value), 8 + index * 8));
  return bytes;
}

/** Encodes a note (System V ABI, "Note Section"). */
function encodeNote(content: Buffer): Buffer {
  const name = Buffer.from(`${noteName}\0`);
  const head = Buffer.alloc(12 + alignUp(name.byteLength, noteAlignment));
  head.writeUInt32LE(name.byteLength, 0);
  head.writeUInt32LE(content.byteLength, 4);
  name.copy(head, 12);
  const padding = Buffer.alloc(alignUp(content.byteLength, noteAlignment) - content.byteLength);
  return Buffer.concat([head, content, padding]);
}

/** Returns the position of the digit that switches the application on. */
function findFuse(runtime: Buffer): number {
  const at = runtime.indexOf(fuse);
  if (at === -1 || runtime.indexOf(fuse, at + 1) !== -1)
    throw unsuitable('not a Node.js with support for applications');
  const digit = at + fuse.byteLength;
  if (runtime[digit] !== 0x30) throw unsuitable('it contains an application already');
  return digit;
}

/**
 * Adds an application to the Node.js executable of Linux, as postject does, by which Node.js documents single-executable applications.
 *
 * Unlike postject, this keeps every byte of the runtime in place except one digit and the table of program headers, so that the runtime
 * inside an executable can be compared with Node's release. The table has no room for the two entries of an application (one maps it,
 * the other marks it as a note), so they replace two others: PT_PHDR, which only position-independent programs need, and PT_NOTE, whose
 * notes are copied in front of the application's.
 * @param runtime is changed
 * @returns the parts of the executable, in order
 * @throws AirliftError `input` if `runtime` is not such a program
 */
export function addApplication(runtime: Buffer, blob: Buffer): Buffer[] {
  const { segments, tableOffset } = readSegments(runtime);
  // ET_EXEC: a position-independent program would need PT_PHDR.
  if (runtime.readUInt16LE(16) !== 2) throw unsuitable('a position-independent program');
  const isNote = ({ type }: Segment): boolean => type === ptNote;
  const [oldNotes, ...moreNotes] = segments.filter(isNote);
  const loads = segments.filter(({ type }) => type === ptLoad);
  const [oldTable, ...moreTables] = segments.filter(({ type }) => type === ptPhdr);
  if (oldNotes === undefined || oldTable === undefined || moreNotes.length + moreTables.length > 0)
    throw unsuitable('other program headers than expected');
  if (oldNotes.alignment !== noteAlignment) throw unsuitable('notes of another alignment');
  const notes = Buffer.concat([
    runtime.subarray(oldNotes.offset, oldNotes.offset + oldNotes.fileSize),
    encodeNote(blob),
  ]);
  const end = Math.max(...loads.map(({ address, memorySize }) => address + memorySize));
  const offset = alignUp(runtime.byteLength, pageSize);
  const load: Segment = {
    type: ptLoad,
    flags: readable,
    offset,
    address: alignUp(end, pageSize),
    fileSize: notes.byteLength,
    memorySize: notes.byteLength,
    alignment: pageSize,
  };
  const lastLoad = segments.lastIndexOf(loads.at(-1) as Segment);
  const table = segments.flatMap((segment, index) => {
    if (segment === oldTable) return [];
    if (segment === oldNotes) return [{ ...load, type: ptNote, alignment: noteAlignment }];
    return index === lastLoad ? [segment, load] : [segment];
  });
  const digit = findFuse(runtime);
  Buffer.concat(table.map(encodeSegment)).copy(runtime, tableOffset);
  runtime[digit] = 0x31;
  return [runtime, Buffer.alloc(offset - runtime.byteLength), notes];
}
