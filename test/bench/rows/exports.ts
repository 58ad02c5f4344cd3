/** Contenders that export a corpus to one file. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { airliftPath } from '../../support/airlift.js';
import { run } from '../../support/peers.js';
import type { BareList } from '../bare-loop.js';
import { checkLayoutTar } from '../content.js';
import { exportText, exportWith } from '../peers.js';
import type { Contender } from '../race.js';
import { airliftIdentity, emptyDirectory, type Bench, type Source } from '../row.js';

const bareLoop = fileURLToPath(new URL('../bare-loop.js', import.meta.url));

/** Returns the command that exports all images of a source with airlift. */
export function airliftExport(host: string, source: Source, bundle: string): readonly string[] {
  const images = source.list.images.map((image) => `${host}/${image}`);
  return [process.execPath, airliftPath, 'export', ...images, '-o', bundle];
}

/** Exports all images of a source with airlift. Returns the path of the bundle, in the empty directory `inputs`. */
export async function writeBundle(bench: Bench, source: Source): Promise<string> {
  const bundle = join(emptyDirectory(bench, 'inputs'), 'bundle.tar');
  const [program = '', ...args] = airliftExport(source.host, source, bundle);
  await run(program, args);
  return bundle;
}

/** Returns airlift and the installed peers. They read from `host`, the source itself or a link to it. */
export function exporters(bench: Bench, source: Source, host: string): Contender[] {
  const exporter = (
    contender: Omit<Contender, 'prepare'>,
    output: string,
    command: (dir: string) => readonly string[],
  ): Contender => ({
    ...contender,
    prepare: () => {
      const dir = emptyDirectory(bench, 'run');
      return {
        command: command(dir),
        check: () => checkLayoutTar(join(dir, output), join(dir, 'unpacked'), source.content),
        end: () => rmSync(dir, { recursive: true, force: true }),
      };
    },
  });
  return [
    exporter({ ...airliftIdentity(bench), does: '`airlift export` of all images' }, 'bundle.tar', (dir) =>
      airliftExport(host, source, join(dir, 'bundle.tar')),
    ),
    ...bench.peers.map((peer) =>
      exporter(
        { tool: peer.tool, kind: 'peer', title: `${peer.title} + tar`, does: exportText[peer.tool] },
        'layout.tar',
        (dir) => exportWith(peer, host, source.list, dir),
      ),
    ),
  ];
}

/** Returns everything that the bare loop has to fetch, largest first. */
function bareList(source: Source): BareList {
  const blobs = [...source.content.walk].flatMap(([digest, found]) => {
    if (found === 'absent') return [];
    const kind = /manifest|image\.index/.test(found.mediaType) ? 'manifests' : 'blobs';
    const path = `/v2/${source.content.repositories.get(digest) ?? ''}/${kind}/${digest}`;
    return [{ path, digest, size: found.size }];
  });
  return { host: source.host, blobs: blobs.sort((a, b) => b.size - a.size) };
}

function floor(bench: Bench, list: BareList, contender: Omit<Contender, 'prepare' | 'kind'>): Contender {
  return {
    ...contender,
    kind: 'floor',
    prepare: () => {
      const dir = emptyDirectory(bench, 'run');
      const path = join(dir, 'blobs.json');
      writeFileSync(path, JSON.stringify(list));
      return {
        command: [process.execPath, bareLoop, path, join(dir, 'blobs')],
        end: () => rmSync(dir, { recursive: true, force: true }),
      };
    },
  };
}

/** Returns the loop of two threads that fetch, hash and write all content. */
export function bareLoopFloor(bench: Bench, source: Source): Contender {
  return floor(bench, bareList(source), {
    tool: 'bare loop',
    title: 'bare loop',
    does: 'two threads that fetch, hash and write the same content, without a plan, retries, a journal or a sync',
  });
}

/** Returns the same loop for nothing but the largest blob, which comes over one connection. */
export function largestBlobFloor(bench: Bench, source: Source, host: string): Contender {
  return floor(
    bench,
    { host, blobs: bareList(source).blobs.slice(0, 1) },
    {
      tool: 'largest blob',
      title: 'largest blob alone',
      does: 'one thread that fetches, hashes and writes nothing but the largest blob, which comes over one connection',
    },
  );
}
