import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import type { Contender } from './contenders.js';
import type { Corpus } from './corpus.js';
import { median, type Measured } from './measure.js';

export const phases = ['export', 'import', 'import again'] as const;
export type Phase = (typeof phases)[number];

/** All runs of one contender, by phase. */
export interface Result {
  readonly contender: Contender;
  readonly runs: Readonly<Record<Phase, readonly Measured[]>>;
}

/** Formats rows as a Markdown table whose first row is the head. The first `words` columns are left-aligned, the others right-aligned. */
export function aligned(rows: readonly (readonly string[])[], words: number): string[] {
  const widths = (rows[0] ?? []).map((_, at) => Math.max(3, ...rows.map((row) => row[at]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, at) => (at < words ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0))).join(' | ')} |`;
  const rule = widths.map((width, at) => (at < words ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`));
  const [head = [], ...body] = rows;
  return [line(head), `| ${rule.join(' | ')} |`, ...body.map(line)];
}

/** Formats the measurements as Markdown: medians, with the range of the wall time. */
export function report(corpus: Corpus, rounds: number, results: readonly Result[]): string {
  const rows: string[][] = [['Step', 'Tool', 'Time (s)', 'from – to', 'CPU (s)', 'Peak memory (MiB)']];
  for (const phase of phases) {
    for (const { contender, runs } of results) {
      const walls = runs[phase].map((run) => run.wall);
      const span = `${Math.min(...walls).toFixed(1)} – ${Math.max(...walls).toFixed(1)}`;
      rows.push([
        phase,
        contender.title,
        median(walls).toFixed(1),
        span,
        median(runs[phase].map((run) => run.cpu)).toFixed(1),
        median(runs[phase].map((run) => run.memory)).toFixed(0),
      ]);
    }
  }
  const processors = cpus();
  const machine = `${processors.length} cores (${processors[0]?.model.trim() ?? 'unknown'}), ${(totalmem() / 2 ** 30).toFixed(0)} GiB of memory, Node ${process.version}`;
  return [
    `Corpus: ${corpus.images.length} images × ${corpus.platforms} platforms, ${corpus.blobs} distinct manifests, configs and layers, ${(corpus.bytes / 1e9).toFixed(2)} GB.`,
    `Machine: ${machine}. Medians of ${rounds} rounds.`,
    '',
    ...aligned(rows, 2),
    '',
    ...results.map(({ contender }) => `- ${contender.title}: ${contender.does}.`),
  ].join('\n');
}

/** Replaces the report between its markers in a Markdown file. */
export function writeReport(path: string, text: string, name: 'bench' | 'scale'): void {
  const begin = `<!-- ${name}:begin, written by npm run ${name === 'bench' ? 'bench' : 'bench:scale'} -->`;
  const end = `<!-- ${name}:end -->`;
  const old = readFileSync(path, 'utf8');
  const from = old.indexOf(begin);
  const to = old.indexOf(end);
  if (from < 0 || to < from) throw new Error(`${path}: the markers ${begin} and ${end} are missing`);
  writeFileSync(path, `${old.slice(0, from + begin.length)}\n\n${text}\n\n${old.slice(to)}`);
}
