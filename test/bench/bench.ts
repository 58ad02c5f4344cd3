/**
 * Compares airlift with other tools that carry images, and with floors: work that no tool can leave out.
 *
 *     npm run bench                                   writes docs/benchmarks.md, .json and .svg
 *     npm run bench -- --rows export,verify           replaces the results of these rows
 *     npm run bench -- --rows export --rounds 1 --dry-run
 *     npm run bench -- --small                        a quick check that the benchmark works; writes nothing
 */
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { cpus, freemem, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { airliftPath } from '../support/airlift.js';
import { needs, run } from '../support/peers.js';
import { chart } from './chart.js';
import type { Measured } from './measure.js';
import { findPeers } from './peers.js';
import { race } from './race.js';
import { conclusion, report, writeReport } from './report.js';
import { mergeResults, readResults, writeResults } from './results-file.js';
import type { RowResult } from './results.js';
import type { Bench, Row } from './row.js';
import { rows } from './rows.js';

const repository = fileURLToPath(new URL('../../../', import.meta.url));
/** Bytes of output that exist at one time at most. */
const room = { small: 1e9, full: 12e9 } as const;

interface Output {
  readonly dir: string;
  readonly isTmpfs: boolean;
}

/** Creates a directory for output: in /dev/shm if that has enough room and the machine enough free memory, else in `disk`. */
function makeOutput(bytes: number, disk: string): Output {
  const shm = '/dev/shm';
  try {
    const { bavail, bsize } = statfsSync(shm);
    if (Math.min(bavail * bsize, freemem()) >= bytes)
      return { dir: mkdtempSync(join(shm, 'airlift-bench-')), isTmpfs: true };
  } catch {
    // No /dev/shm on this system.
  }
  mkdirSync(disk, { recursive: true });
  return { dir: mkdtempSync(join(disk, 'out-')), isTmpfs: false };
}

/** Returns the named rows. */
function chosen(names: string | undefined): readonly Row[] {
  if (names === undefined) return rows;
  return names.split(',').map((name) => {
    const row = rows.find((candidate) => candidate.name === name);
    if (row === undefined)
      throw new Error(`--rows: no row ${name}; want ${rows.map((known) => known.name).join(', ')}`);
    return row;
  });
}

function line({ wall, user, cpu, memory }: Measured): string {
  return `${wall.toFixed(2)} s, CPU ${cpu.toFixed(2)} s (user ${user.toFixed(2)}), ${memory.toFixed(0)} MiB`;
}

async function bench(): Promise<void> {
  const { values } = parseArgs({
    options: {
      small: { type: 'boolean', default: false },
      rows: { type: 'string' },
      rounds: { type: 'string' },
      'dry-run': { type: 'boolean', default: false },
    },
  });
  const missing = needs('docker-registry', 'time', 'tar', 'curl');
  if (missing !== false) throw new Error(missing);
  const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
  if (rounds !== undefined && (!Number.isInteger(rounds) || rounds < 1))
    throw new Error('--rounds: want an integer of 1 or more');
  const isSmall = values.small;
  const selected = chosen(values.rows);
  const peers = await findPeers(process.env);
  const inputs = join(repository, 'bench-out', isSmall ? 'small' : 'full');
  const { dir: out, isTmpfs } = makeOutput(isSmall ? room.small : room.full, inputs);
  // Output in memory must not outlive the benchmark.
  process.once('exit', () => rmSync(out, { recursive: true, force: true }));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
  const { stdout: version } = await run(process.execPath, [airliftPath, '--version']);
  const processor = cpus()[0]?.model.trim() ?? 'unknown';
  const conditions = [
    `Machine: ${cpus().length} cores (${processor}), ${(totalmem() / 2 ** 30).toFixed(0)} GiB of memory, Node ${process.version}.`,
    `Output is written to ${isTmpfs ? 'memory (tmpfs)' : 'a disk'}.`,
  ].join(' ');
  console.log(`${conditions} Peers: ${peers.map(({ title }) => title).join(', ') || 'none'}.`);

  const results: RowResult[] = [];
  const failed: string[] = [];
  for (const row of selected) {
    const started = performance.now();
    const context: Bench = {
      isSmall,
      peers,
      inputs,
      out,
      airlift: `airlift ${version.trim()}`,
      race: (contenders) =>
        race(contenders, {
          rounds: rounds ?? (isSmall ? 1 : row.rounds),
          dir: join(out, 'work'),
          isOnDisk: !isTmpfs,
          onRun: (round, title, measured) =>
            console.log(`${row.name} ${round + 1}: ${title}: ${line(measured)}`),
        }),
    };
    try {
      const measured = await row.measure(context);
      results.push(...measured);
      for (const result of measured) console.log(`${result.title}: ${conclusion(result)}`);
    } catch (error) {
      failed.push(row.name);
      console.error(`${row.name} failed:`, error);
    }
    console.log(`${row.name}: ${((performance.now() - started) / 1000).toFixed(0)} s with checks`);
  }
  if (failed.length > 0) {
    console.error(`failed: ${failed.join(', ')}`);
    process.exitCode = 1;
  }
  if (isSmall || values['dry-run']) return;
  const docs = (name: string): string => join(repository, 'docs', name);
  const earlier = readResults(docs('benchmarks.json'));
  const isComplete = values.rows === undefined && failed.length === 0;
  const merged = mergeResults(earlier, { conditions, rows: results }, isComplete);
  writeResults(docs('benchmarks.json'), merged);
  writeFileSync(docs('benchmarks.svg'), chart(merged.rows));
  writeReport(docs('benchmarks.md'), report(merged.conditions, 'benchmarks.svg', merged.rows), 'bench');
}

await bench();
