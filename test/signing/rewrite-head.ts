/** Changes the head of a bundle, for tests of bundles that an attacker made. */
import { readFileSync, writeFileSync } from 'node:fs';
import { BundleReader } from '../../src/bundle/reader.js';
import { encodeHeader, paddedLength } from '../../src/tar/header.js';

/** Writes a copy of a bundle whose entries before the blobs are changed by `change`. Offsets in the catalog stay right. */
export async function rewriteHead(
  path: string,
  output: string,
  change: (entries: Map<string, Buffer>) => void,
): Promise<void> {
  const reader = await BundleReader.open(path);
  const bytes = readFileSync(path);
  const entries = new Map(
    [...reader.head.entries].map(([name, { contentPosition, size }]) => [
      name,
      bytes.subarray(contentPosition, contentPosition + size),
    ]),
  );
  const time = Math.floor(reader.created.getTime() / 1000);
  const rest = bytes.subarray(reader.head.start);
  await reader.close();
  change(entries);
  const head = [...entries].flatMap(([name, content]) => [
    encodeHeader(name, content.length, time),
    content,
    Buffer.alloc(paddedLength(content.length) - content.length),
  ]);
  writeFileSync(output, Buffer.concat([...head, rest]));
}
