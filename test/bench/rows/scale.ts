/** Many small images, and one huge layer. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { checkRegistry } from '../content.js';
import type { CorpusShape } from '../corpus.js';
import {
  airliftIdentity,
  describeCorpus,
  emptyDirectory,
  intoEmptyRegistry,
  withSource,
  type Row,
} from '../row.js';
import { airliftExport, bareLoopFloor, exporters } from './exports.js';
import { airliftImport, exportInputs, importers } from './import.js';
import { verifiers } from './verify.js';

const manyShape: CorpusShape = {
  images: 500,
  platforms: ['linux/amd64'],
  base: [40_000],
  runtime: [60_000],
  own: [20_000, 4000],
};

export const manyRow: Row = {
  name: 'many',
  rounds: 1,
  measure: (bench) =>
    withSource(bench, 'many', bench.isSmall ? { ...manyShape, images: 20 } : manyShape, async (source) => {
      const corpus = describeCorpus(source.corpus, 1);
      return [
        {
          name: 'many-export',
          title: 'Export of many small images',
          work: `${corpus}.`,
          contenders: await bench.race([
            ...exporters(bench, source, source.host),
            bareLoopFloor(bench, source),
          ]),
          goals: [{ figure: 'memory', limit: 150 }],
        },
        {
          name: 'many-import',
          title: 'Import of many small images',
          work: `${corpus}, into an empty registry.`,
          contenders: await bench.race(importers(bench, source, await exportInputs(bench, source))),
          goals: [{ figure: 'memory', limit: 150 }],
        },
      ];
    }),
};

const hugeShape: CorpusShape = {
  images: 1,
  platforms: ['linux/amd64'],
  base: [],
  runtime: [],
  own: [5_000_000_000],
};

export const hugeRow: Row = {
  name: 'huge',
  rounds: 1,
  measure: (bench) =>
    withSource(
      bench,
      'huge',
      bench.isSmall ? { ...hugeShape, own: [20_000_000] } : hugeShape,
      async (source) => {
        const work = `One image with a layer of ${((hugeShape.own[0] ?? 0) / 1e9).toFixed(0)} GB.`;
        const goals = [{ figure: 'memory', limit: 150 }] as const;
        const bundle = join(emptyDirectory(bench, 'inputs'), 'bundle.tar');
        // The import checks the content of the bundle, without a second copy of it in memory.
        const exported = await bench.race([
          {
            ...airliftIdentity(bench),
            does: '`airlift export`',
            prepare: () => {
              rmSync(bundle, { force: true });
              return { command: airliftExport(source.host, source, bundle) };
            },
          },
          bareLoopFloor(bench, source),
        ]);
        const verified = await bench.race(verifiers(bench, bundle, 1));
        const imported = await bench.race([
          {
            ...airliftIdentity(bench),
            does: '`airlift import`',
            prepare: () =>
              intoEmptyRegistry(
                bench,
                (host) => airliftImport(bundle, host),
                (host) => checkRegistry(host, source.content),
              ),
          },
        ]);
        rmSync(bundle);
        return [
          { name: 'huge-export', title: 'Export of one huge layer', work, contenders: exported, goals },
          { name: 'huge-verify', title: 'Verify one huge layer', work, contenders: verified, goals },
          { name: 'huge-import', title: 'Import of one huge layer', work, contenders: imported, goals },
        ];
      },
    ),
};
