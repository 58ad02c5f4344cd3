import { fileURLToPath } from 'node:url';
import { airliftPath } from '../../support/airlift.js';
import { smallShape } from '../corpus.js';
import { quote, script } from '../peers.js';
import type { Contender } from '../race.js';
import type { RowResult } from '../results.js';
import { airliftIdentity, describeCorpus, withImages, withSource, type Bench, type Row } from '../row.js';
import { writeBundle } from './exports.js';

const bareHash = fileURLToPath(new URL('../bare-hash.js', import.meta.url));

/** Returns airlift and the floor: threads that hash the whole bundle. */
export function verifiers(bench: Bench, bundle: string, threads: 1 | 2): Contender[] {
  const isOne = threads === 1;
  return [
    {
      ...airliftIdentity(bench),
      does: '`airlift verify`',
      prepare: () => ({ command: [process.execPath, airliftPath, 'verify', bundle] }),
    },
    {
      tool: 'hashing',
      kind: 'floor',
      title: isOne ? 'one hashing core' : 'two hashing cores',
      does: isOne ? 'one thread that hashes the file' : 'two threads that hash half of the file each',
      prepare: () => ({ command: [process.execPath, bareHash, bundle, String(threads)] }),
    },
  ];
}

export const verifyRow: Row = {
  name: 'verify',
  rounds: 7,
  measure: (bench) =>
    withImages(bench, async (source, described) => {
      const bundle = await writeBundle(bench, source);
      return [
        {
          name: 'verify',
          title: 'Verify a bundle',
          work: `A bundle with ${described}.`,
          contenders: await bench.race(verifiers(bench, bundle, 2)),
          goals: [
            { figure: 'wall', limit: 0.9 },
            { figure: 'memory', limit: 150 },
          ],
        },
      ];
    }),
};

/** Starts per measured command: GNU time reports hundredths of a second. */
const starts = 10;

function repeated(words: readonly string[]): { command: readonly string[]; repeats: number } {
  const line = words.map(quote).join(' ');
  const command = script(`i=0; while [ $i -lt ${starts} ]; do ${line} >/dev/null; i=$((i + 1)); done`);
  return { command, repeats: starts };
}

export const startRow: Row = {
  name: 'start',
  rounds: 5,
  measure: (bench) =>
    withSource(bench, 'start', { ...smallShape, images: 8 }, async (source) => {
      const bundle = await writeBundle(bench, source);
      const row = async (name: string, words: readonly string[], limit: number): Promise<RowResult> => ({
        name,
        title: `\`airlift ${name}\``,
        work: `Mean of ${starts} starts. \`airlift inspect\` reads a bundle with ${describeCorpus(source.corpus, smallShape.platforms.length)}.`,
        contenders: await bench.race([
          {
            ...airliftIdentity(bench),
            does: `\`airlift ${name}\``,
            prepare: () => repeated([process.execPath, airliftPath, ...words]),
          },
          {
            tool: 'node',
            kind: 'floor',
            title: '`node -e 0`',
            does: 'the start of Node.js',
            prepare: () => repeated([process.execPath, '-e', '0']),
          },
        ]),
        goals: [{ figure: 'wall', limit }],
      });
      return [await row('--version', ['--version'], 0.13), await row('inspect', ['inspect', bundle], 0.2)];
    }),
};
