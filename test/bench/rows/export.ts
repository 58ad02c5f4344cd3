import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startDaemon } from '../../support/daemon.js';
import { withImages, type Row } from '../row.js';
import { bareLoopFloor, exporters, largestBlobFloor } from './exports.js';

const slowLink = fileURLToPath(new URL('../slow-link-process.js', import.meta.url));

export const exportRow: Row = {
  name: 'export',
  rounds: 3,
  measure: (bench) =>
    withImages(bench, async (source, described) => [
      {
        name: 'export',
        title: 'Export to one file',
        work: `From a registry on the same machine: ${described}.`,
        contenders: await bench.race([
          ...exporters(bench, source, source.host),
          bareLoopFloor(bench, source),
        ]),
        goals: [
          { figure: 'wall', limit: 0.55, of: 'oras' },
          { figure: 'wall', limit: 1.15, of: 'bare loop' },
          { figure: 'memory', limit: 150 },
        ],
      },
    ]),
};

const bytesPerSecond = 40e6;
const delay = 20;

export const slowExportRow: Row = {
  name: 'slow-export',
  rounds: 1,
  measure: (bench) =>
    withImages(bench, async (source) => {
      const link = await startDaemon(
        process.execPath,
        [slowLink, source.host, String(bytesPerSecond), String(delay)],
        {
          log: join(bench.out, 'slow-link.log'),
          ready: (log) => /listening on (\S+)\n/.exec(log)?.[1],
        },
      );
      try {
        return [
          {
            name: 'slow-export',
            title: 'Export over a slow link',
            work: `The same images, over connections with ${bytesPerSecond / 1e6} MB/s each and a delay of ${delay} ms in each direction.`,
            contenders: await bench.race([
              ...exporters(bench, source, link.answer),
              largestBlobFloor(bench, source, link.answer),
            ]),
            goals: [{ figure: 'wall', limit: 1.08, of: 'largest blob' }],
          },
        ];
      } finally {
        await link.stop();
      }
    }),
};
