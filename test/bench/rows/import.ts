import { dirname, join } from 'node:path';
import { airliftPath } from '../../support/airlift.js';
import { startDockerRegistry } from '../../support/docker-registry.js';
import { run } from '../../support/peers.js';
import { checkRegistry } from '../content.js';
import { exportWith, importText, importWith, unpackAndImportWith, type FoundPeer } from '../peers.js';
import type { Contender } from '../race.js';
import {
  airliftIdentity,
  emptyDirectory,
  intoEmptyRegistry,
  peerIdentity,
  stopAndRemove,
  withImages,
} from '../row.js';
import type { Bench, Row, Source } from '../row.js';
import { writeBundle } from './exports.js';

/** Inputs of an import: airlift's bundle, and an OCI layout with a tar of it if a peer can write one. */
interface Inputs {
  readonly bundle: string;
  readonly layout: string;
  readonly layoutTar: string;
  /** The peers that can import the layout. */
  readonly peers: readonly (FoundPeer & { readonly tool: 'oras' | 'skopeo' })[];
}

/** Exports all images, with airlift and with a peer. */
export async function exportInputs(bench: Bench, source: Source): Promise<Inputs> {
  const bundle = await writeBundle(bench, source);
  const dir = dirname(bundle);
  const peers = bench.peers.flatMap((peer) =>
    peer.tool === 'oras' || peer.tool === 'skopeo' ? [{ ...peer, tool: peer.tool }] : [],
  );
  if (peers[0] !== undefined) {
    const [shell = '', ...words] = exportWith(peers[0], source.host, source.list, dir);
    await run(shell, words);
  }
  return { bundle, layout: join(dir, 'layout'), layoutTar: join(dir, 'layout.tar'), peers };
}

export function airliftImport(bundle: string, host: string): readonly string[] {
  return [process.execPath, airliftPath, 'import', bundle, '--to', host];
}

/** Returns the contenders that import what `exportInputs` wrote into an empty registry. */
export function importers(bench: Bench, source: Source, inputs: Inputs): Contender[] {
  const importer = (
    contender: Omit<Contender, 'prepare'>,
    command: (host: string, dir: string) => readonly string[],
  ): Contender => ({
    ...contender,
    prepare: () => intoEmptyRegistry(bench, command, (host) => checkRegistry(host, source.content)),
  });
  return [
    importer({ ...airliftIdentity(bench), does: '`airlift import` of the bundle' }, (host) =>
      airliftImport(inputs.bundle, host),
    ),
    ...inputs.peers.map((peer) =>
      importer(
        {
          ...peerIdentity(peer),
          title: `tar + ${peer.title}`,
          does: `\`tar -xf\` of an OCI layout, then ${importText[peer.tool]}`,
        },
        (host, dir) => unpackAndImportWith(peer, inputs.layoutTar, dir, source.list, host),
      ),
    ),
  ];
}

export const importRow: Row = {
  name: 'import',
  rounds: 3,
  measure: (bench) =>
    withImages(bench, async (source, described) => [
      {
        name: 'import',
        title: 'Import into an empty registry',
        work: `From one file into a registry on the same machine: ${described}.`,
        contenders: await bench.race(importers(bench, source, await exportInputs(bench, source))),
        goals: [
          { figure: 'wall', limit: 0.7, of: 'oras' },
          { figure: 'user', limit: 2.5 },
          { figure: 'memory', limit: 150 },
        ],
      },
    ]),
};

export const againRow: Row = {
  name: 'again',
  rounds: 7,
  measure: (bench) =>
    withImages(bench, async (source) => {
      const inputs = await exportInputs(bench, source);
      const target = await startDockerRegistry({ storage: emptyDirectory(bench, 'target') });
      try {
        const [program = '', ...args] = airliftImport(inputs.bundle, target.host);
        await run(program, args);
        return [
          {
            name: 'again',
            title: 'Import again',
            work: 'The same import into a registry that has everything. airlift asks for every manifest and blob; oras asks only for the root of each image.',
            contenders: await bench.race([
              {
                ...airliftIdentity(bench),
                does: '`airlift import` of the bundle',
                prepare: () => ({
                  command: airliftImport(inputs.bundle, target.host),
                  check: () => checkRegistry(target.host, source.content),
                }),
              },
              ...inputs.peers.map((peer): Contender => ({
                ...peerIdentity(peer),
                does: `${importText[peer.tool]}, from an unpacked OCI layout`,
                prepare: () => ({
                  command: importWith(peer, inputs.layout, source.list, target.host),
                  check: () => checkRegistry(target.host, source.content),
                }),
              })),
            ]),
            goals: [{ figure: 'wall', limit: 0.45 }],
          },
        ];
      } finally {
        await stopAndRemove(target, inputs.layout);
      }
    }),
};
