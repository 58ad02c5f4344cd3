/**
 * Exports, verifies and imports ten thousand images with a hundred thousand tiny blobs. Export and import are killed half way and
 * resumed. Reports the peak memory of each process, and its time by the number of blobs.
 *
 *     npm run bench:scale                  writes its table to docs/benchmarks.md; takes half an hour
 *     npm run bench:scale -- --images 100  a quick check that the benchmark works; writes nothing
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, totalmem } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { airliftPath } from '../support/airlift.js';
import { startDaemon, type Daemon } from '../support/daemon.js';
import { needs } from '../support/peers.js';
import { measure, usageOf, type Measured } from './measure.js';
import { aligned, writeReport } from './report.js';
import { blobsOfImage, makeScaleCorpus } from './scale-corpus.js';

const repository = fileURLToPath(new URL('../../../', import.meta.url));
const fullScale = [1000, 3000, 10_000];
/** Maximum memory of a process, in MiB. */
const memoryLimit = 250;

interface Step extends Measured {
  readonly name: string;
  readonly images: number;
}

async function startServer(dir: string, store: string): Promise<Daemon & { readonly host: string }> {
  const daemon = await startDaemon(
    process.execPath,
    [airliftPath, 'serve', '--store', store, '--listen', '127.0.0.1:0', '--json'],
    { log: join(dir, 'server.log'), ready: (log) => /"url":"http:\/\/([^"]+)"/.exec(log)?.[1] },
  );
  return { ...daemon, host: daemon.answer };
}

/** Runs airlift, and kills it after it has transferred this many blobs. */
async function runAndKill(args: readonly string[], env: NodeJS.ProcessEnv, blobs: number): Promise<Measured> {
  const started = performance.now();
  const child = spawn(process.execPath, [airliftPath, ...args, '--json'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env,
  });
  const exited = once(child, 'exit');
  let done = 0;
  for await (const line of createInterface(child.stdout)) {
    if (line.includes('"event":"blob-done"') && ++done === blobs) break;
  }
  const usage = usageOf(child.pid ?? 0);
  child.kill('SIGKILL');
  await exited;
  assert.equal(done, blobs, `airlift ${args[0] ?? ''} ended before it could be killed`);
  return { wall: (performance.now() - started) / 1000, ...usage };
}

/** Asserts that two stores have the same files, and the same digests under all tags. */
function assertSameStores(got: string, want: string): void {
  const list = (store: string, folder: string): string[] =>
    readdirSync(join(store, folder), { recursive: true, encoding: 'utf8' }).sort();
  for (const folder of ['blobs', 'repositories']) {
    assert.ok(
      list(got, folder).join('\n') === list(want, folder).join('\n'),
      `${folder} of the site differ from the source's`,
    );
  }
  for (const tag of list(want, 'repositories').filter((name) => name.includes('_tags/')))
    assert.equal(
      readFileSync(join(got, 'repositories', tag), 'utf8'),
      readFileSync(join(want, 'repositories', tag), 'utf8'),
    );
}

async function carry(images: number): Promise<Step[]> {
  const dir = join(repository, 'bench-out', `scale-${images}`);
  mkdirSync(dir, { recursive: true });
  const corpus = makeScaleCorpus(dir, images);
  const out = join(dir, 'out');
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out);
  const env = { ...process.env, NO_COLOR: '1', XDG_STATE_HOME: join(out, 'state') };
  const [bundle, list, site] = [join(out, 'site.tar'), join(out, 'list.txt'), join(out, 'site')];
  const steps: Step[] = [];
  const note = (name: string, measured: Measured): void => {
    steps.push({ name, images, ...measured });
    const { wall, cpu, memory } = measured;
    console.log(
      `${images} images: ${name}: ${wall.toFixed(1)} s, CPU ${cpu.toFixed(1)} s, ${memory.toFixed(0)} MiB, load ${loadavg()[0]?.toFixed(1)}`,
    );
  };
  const half = (images * blobsOfImage) / 2;
  const command = (...args: string[]): string[] => [process.execPath, airliftPath, ...args, '--quiet'];

  const source = await startServer(dir, corpus.store);
  let started = performance.now();
  writeFileSync(list, corpus.images.map((image) => `${source.host}/${image}\n`).join(''));
  const exporting = ['export', '--images', list, '-o', bundle];
  try {
    // The plan downloads the configs, without `blob-done` events.
    note('export, killed half way', await runAndKill(exporting, env, half - (images * blobsOfImage) / 10));
    note('export, resumed', await measure(command(...exporting), env));
    note('registry of the export', {
      wall: (performance.now() - started) / 1000,
      ...usageOf(source.pid),
    });
  } finally {
    await source.stop();
  }
  note('verify', await measure(command('verify', bundle), env));

  const target = await startServer(dir, site);
  const importing = ['import', bundle, '--to', target.host];
  started = performance.now();
  try {
    note('import, killed half way', await runAndKill(importing, env, half));
    note('import, resumed', await measure(command(...importing), env));
    note('registry of the import', {
      wall: (performance.now() - started) / 1000,
      ...usageOf(target.pid),
    });
    note('import again', await measure(command(...importing), env));
  } finally {
    await target.stop();
  }
  assertSameStores(site, corpus.store);
  rmSync(out, { recursive: true, force: true });
  return steps;
}

function table(steps: readonly Step[]): string {
  const sizes = [...new Set(steps.map(({ images }) => images))];
  const blobsOf = (images: number): string => (images * blobsOfImage).toLocaleString('en');
  const columns: [unit: string, figure: (step: Step) => string][] = [
    ['s', ({ wall }) => wall.toFixed(0)],
    ['ms CPU a blob', ({ cpu, images }) => ((cpu * 1000) / (images * blobsOfImage)).toFixed(2)],
    ['MiB', ({ memory }) => memory.toFixed(0)],
  ];
  const head = columns.flatMap(([unit]) => sizes.map((images) => `${blobsOf(images)}: ${unit}`));
  const rows = [...new Set(steps.map(({ name }) => name))].map((name) => {
    const found = sizes.map((images) => steps.find((step) => step.name === name && step.images === images));
    return [
      name,
      ...columns.flatMap(([, figure]) => found.map((step) => (step === undefined ? '' : figure(step)))),
    ];
  });
  return aligned([['Process, by blobs', ...head], ...rows], 1).join('\n');
}

async function bench(): Promise<void> {
  const { values } = parseArgs({ options: { images: { type: 'string' } } });
  const missing = needs('time');
  if (missing !== false) throw new Error(missing);
  const sizes = values.images?.split(',').map(Number) ?? fullScale;
  const steps: Step[] = [];
  for (const images of sizes) steps.push(...(await carry(images)));
  const text = table(steps);
  const machine = `${cpus().length} cores (${cpus()[0]?.model.trim() ?? 'unknown'}), ${(totalmem() / 2 ** 30).toFixed(0)} GiB of memory, Node ${process.version}`;
  console.log(`\n${text}\n\n${machine}`);
  if (values.images === undefined)
    writeReport(join(repository, 'docs', 'benchmarks.md'), `Machine: ${machine}.\n\n${text}`, 'scale');
  const largest = steps.reduce((most, step) => (step.memory > most.memory ? step : most));
  assert.ok(
    largest.memory < memoryLimit,
    `${largest.name} of ${largest.images} images used ${largest.memory.toFixed(0)} MiB, want less than ${memoryLimit}`,
  );
}

await bench();
