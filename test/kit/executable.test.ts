import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isAirliftError } from '../../src/errors.js';
import { addApplication } from '../../src/kit/executable.js';

const fuse = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2:';
const blob = Buffer.from('an application');

interface Header {
  readonly type: number;
  readonly offset?: number;
  readonly address?: number;
  readonly size?: number;
}

const notes = Buffer.from('\x04\0\0\0\x04\0\0\0\x03\0\0\0GNU\0build', 'latin1').subarray(0, 20);
const notesAt = 0x200;
const usual: readonly Header[] = [
  { type: 6, offset: 64, address: 0x400040 },
  { type: 1, offset: 0, address: 0x400000, size: 0x1000 },
  { type: 1, offset: 0x1000, address: 0x610000, size: 0x800 },
  { type: 4, offset: notesAt, address: 0x400200, size: notes.byteLength },
];

/** Returns a program with these headers. */
function program(headers: readonly Header[], { type = 2, text = `${fuse}0` } = {}): Buffer {
  const file = Buffer.alloc(0x1800);
  file.write('\x7fELF\x02\x01\x01', 0, 'latin1');
  file.writeUInt16LE(type, 16);
  file.writeBigUInt64LE(64n, 32);
  file.writeUInt16LE(56, 54);
  file.writeUInt16LE(headers.length, 56);
  headers.forEach(({ type: kind, offset = 0, address = 0, size = 0 }, index) => {
    const at = 64 + index * 56;
    file.writeUInt32LE(kind, at);
    [offset, address, address, size, size, kind === 4 ? 4 : 0x1000].forEach((value, field) =>
      file.writeBigUInt64LE(BigInt(value), at + 8 + field * 8),
    );
  });
  notes.copy(file, notesAt);
  file.write(text, 0x1400);
  return file;
}

/** Reads the headers and what they point to. */
function headersOf(file: Buffer): { type: number; content: Buffer; address: number }[] {
  return Array.from({ length: file.readUInt16LE(56) }, (_, index) => {
    const at = 64 + index * 56;
    const field = (number: number): number => Number(file.readBigUInt64LE(at + 8 + number * 8));
    const [offset, address, size] = [field(0), field(1), field(3)];
    return { type: file.readUInt32LE(at), content: file.subarray(offset, offset + size), address };
  });
}

test('an application is added as a note that is mapped, and every other byte stays in place', () => {
  const runtime = program(usual);
  const file = Buffer.concat(addApplication(Buffer.from(runtime), blob));
  const headers = headersOf(file);
  assert.deepEqual(
    headers.map(({ type }) => type),
    [1, 1, 1, 4],
  );
  const [load, note] = headers.slice(2);
  assert.ok(load && note);
  assert.equal(load.address, 0x620000);
  assert.equal(note.address, load.address);
  assert.deepEqual(note.content, load.content);
  assert.deepEqual(note.content.subarray(0, notes.byteLength), notes);
  const own = note.content.subarray(notes.byteLength);
  assert.deepEqual([own.readUInt32LE(0), own.readUInt32LE(4)], [14, blob.byteLength]);
  assert.equal(own.toString('latin1', 12, 28), 'NODE_SEA_BLOB\0\0\0');
  assert.deepEqual(own.subarray(28, 28 + blob.byteLength), blob);
  const changed = [...runtime.keys()].filter((at) => runtime[at] !== file[at]);
  const digit = 0x1400 + fuse.length;
  assert.deepEqual(
    changed.filter((at) => at !== digit && (at < 64 || at >= 64 + 4 * 56)),
    [],
  );
  assert.equal(String.fromCharCode(file[digit] ?? 0), '1');
});

test('a program that is not the expected Node.js is rejected', () => {
  const cases: [Buffer, RegExp][] = [
    [Buffer.from('#!/bin/sh'), /not an ELF-64 program/],
    [program(usual, { type: 3 }), /a position-independent program/],
    [program(usual, { text: 'nothing' }), /not a Node\.js with support for applications/],
    [program(usual, { text: `${fuse}1` }), /it contains an application already/],
    [program(usual.slice(1)), /other program headers than expected/],
    [program([...usual, { type: 4 }]), /other program headers than expected/],
    [program(usual).subarray(0, 100), /truncated program headers/],
  ];
  for (const [file, why] of cases)
    assert.throws(
      () => addApplication(Buffer.from(file), blob),
      (error) => isAirliftError(error, 'input') && why.test(error.message),
    );
});
