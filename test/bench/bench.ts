/**
 * Compares airlift with other programs, on a corpus in a docker-registry on loopback.
 *
 *     npm run bench                        writes its table to docs/benchmarks.md
 *     npm run bench -- --small             a quick check that the benchmark works; writes nothing
 *     npm run bench -- --rounds 5 --only airlift,skopeo
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startDockerRegistry } from '../support/docker-registry.js';
import { needs, run } from '../support/peers.js';
import { sameContent, walkRegistry } from '../support/walk.js';
import { findContenders, type Contender } from './contenders.js';
import { fullShape, serveCorpus, smallShape, type Corpus } from './corpus.js';
import { measure, type Measured } from './measure.js';
import { phases, report, writeReport, type Phase, type Result } from './report.js';

const repository = fileURLToPath(new URL('../../../', import.meta.url));

/** Measures each phase of one contender, without old output and with all data synced to disk. */
async function measurePhases(
  contender: Contender,
  host: string,
  corpus: Corpus,
  out: string,
  isChecked: boolean,
): Promise<Record<Phase, Measured>> {
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  const target = await startDockerRegistry();
  try {
    await run('sync', []);
    const exported = await measure(contender.export(host, corpus.images, out));
    await run('sync', []);
    const imported = await measure(contender.import(out, corpus.images, target.host));
    await run('sync', []);
    const again = await measure(contender.import(out, corpus.images, target.host));
    if (isChecked) {
      for (const image of corpus.images) {
        const [name = '', tag = ''] = image.split(':');
        const got = await walkRegistry(target.host, name, tag);
        const want = await walkRegistry(host, name, tag);
        sameContent(got.content, want.content);
      }
    }
    return { export: exported, import: imported, 'import again': again };
  } finally {
    await target.stop();
    rmSync(out, { recursive: true, force: true });
  }
}

async function bench(): Promise<void> {
  const { values } = parseArgs({
    options: {
      small: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      only: { type: 'string' },
    },
  });
  const missing = needs('docker-registry', 'time', 'tar');
  if (missing !== false) throw new Error(missing);
  const rounds = Number(values.rounds ?? (values.small ? 1 : 3));
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds: want an integer of 1 or more');
  const only = values.only?.split(',');
  const contenders = await findContenders(only);
  const dir = join(repository, 'bench-out', values.small ? 'small' : 'full');
  mkdirSync(dir, { recursive: true });

  console.log('making the corpus');
  const { registry, corpus } = await serveCorpus(dir, values.small ? smallShape : fullShape);
  try {
    const results = contenders.map((contender) => ({
      contender,
      runs: { export: [], import: [], 'import again': [] } as Record<Phase, Measured[]>,
    }));
    for (let round = 0; round < rounds; round++) {
      // The first contender changes from round to round.
      for (let at = 0; at < results.length; at++) {
        const result = results[(at + round) % results.length] as Result & (typeof results)[number];
        const { contender, runs } = result;
        const out = join(dir, 'out');
        const measured = await measurePhases(contender, registry.host, corpus, out, round === 0);
        for (const phase of phases) {
          runs[phase].push(measured[phase]);
          const { wall, cpu, memory } = measured[phase];
          console.log(
            `round ${round + 1}/${rounds} ${contender.title} ${phase}: ${wall.toFixed(2)} s, CPU ${cpu.toFixed(2)} s, ${memory.toFixed(0)} MiB`,
          );
        }
      }
    }
    const text = report(corpus, rounds, results);
    console.log(`\n${text}`);
    if (!values.small && only === undefined)
      writeReport(join(repository, 'docs', 'benchmarks.md'), text, 'bench');
  } finally {
    await registry.stop();
  }
}

await bench();
