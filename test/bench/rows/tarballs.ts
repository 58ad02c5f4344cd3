import { join } from 'node:path';
import { airliftPath } from '../../support/airlift.js';
import { quote, script, type FoundPeer } from '../peers.js';
import { airliftIdentity, intoEmptyRegistry, peerIdentity, type Bench, type Row } from '../row.js';
import type { Contender } from '../race.js';
import type { Goal, RowResult } from '../results.js';
import { checkSaved } from '../saved-content.js';
import { fullMixed, fullReal, makeTarballs, smallMixed, smallReal } from '../tarballs.js';
import type { SavedImage, Tarballs } from '../tarballs.js';

/** A tag of its own for each platform: skopeo copies images, and makes no index. */
const tagOfPlatform = ({ name, platform }: SavedImage): string => `${name}-${platform.split('/')[1] ?? ''}`;

function skopeoCopies(peer: FoundPeer, { images }: Tarballs, host: string): readonly string[] {
  const copy = [quote(peer.path), 'copy', '--quiet', '--dest-tls-verify=false'].join(' ');
  return script(
    ...images.map(
      (image) =>
        `${copy} docker-archive:${quote(image.file)}:${image.name} docker://${host}/${tagOfPlatform(image)}`,
    ),
  );
}

function contenders(bench: Bench, tarballs: Tarballs): Contender[] {
  return [
    {
      ...airliftIdentity(bench),
      does: '`airlift import` of the three files; the result is an index for each image',
      prepare: () =>
        intoEmptyRegistry(
          bench,
          (host) => [process.execPath, airliftPath, 'import', ...tarballs.files, '--to', host],
          (host) => checkSaved(host, tarballs.images, ({ name }) => name),
        ),
    },
    ...bench.peers
      .filter(({ tool }) => tool === 'skopeo')
      .map((peer): Contender => ({
        ...peerIdentity(peer),
        does: '`skopeo copy docker-archive:…` of each image of each file; the result is three tags for each image, and no index',
        prepare: () =>
          intoEmptyRegistry(
            bench,
            (host) => skopeoCopies(peer, tarballs, host),
            (host) => checkSaved(host, tarballs.images, tagOfPlatform),
          ),
      })),
  ];
}

async function measure(
  bench: Bench,
  tarballs: Tarballs,
  row: Pick<RowResult, 'name' | 'title'> & { readonly content: string; readonly goals: readonly Goal[] },
): Promise<RowResult[]> {
  const { name, title, content, goals } = row;
  const count = new Set(tarballs.images.map((image) => image.name)).size;
  return [
    {
      name,
      title,
      work: `Three \`docker save\` archives, one per platform, with ${count} images each, ${(tarballs.bytes / 1e9).toFixed(2)} GB, into an empty registry. ${content}`,
      contenders: await bench.race(contenders(bench, tarballs)),
      goals,
    },
  ];
}

export const tarballsRow: Row = {
  name: 'tarballs',
  rounds: 3,
  measure: (bench) =>
    measure(bench, makeTarballs(join(bench.inputs, 'tarballs'), bench.isSmall ? smallMixed : fullMixed), {
      name: 'tarballs',
      title: "Vendor's tarballs, mixed content",
      content: 'Half of the bytes of the layers are text, half are incompressible.',
      goals: [
        { figure: 'wall', limit: 0.8, of: 'skopeo' },
        { figure: 'cpu', limit: 1.2, of: 'skopeo' },
        { figure: 'memory', limit: 200 },
      ],
    }),
};

export const programTarballsRow: Row = {
  name: 'program-tarballs',
  rounds: 3,
  measure: (bench) =>
    measure(
      bench,
      makeTarballs(join(bench.inputs, 'program-tarballs'), bench.isSmall ? smallReal : fullReal),
      {
        name: 'program-tarballs',
        title: "Vendor's tarballs, real programs",
        content: 'The layers consist of files from `/usr/lib`.',
        goals: [
          { figure: 'wall', limit: 0.8, of: 'skopeo' },
          { figure: 'memory', limit: 200 },
        ],
      },
    ),
};
