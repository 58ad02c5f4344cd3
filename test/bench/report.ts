/** The report of the benchmark as Markdown. */
import { readFileSync, writeFileSync } from 'node:fs';
import {
  airliftOf,
  fastest,
  figureOf,
  ratio,
  verdicts,
  type Figure,
  type RowResult,
  type Verdict,
} from './results.js';

/** Formats rows as a Markdown table whose first row is the head. The first `words` columns are left-aligned, the others right-aligned. */
export function aligned(rows: readonly (readonly string[])[], words: number): string[] {
  const widths = (rows[0] ?? []).map((_, at) => Math.max(3, ...rows.map((row) => row[at]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, at) => (at < words ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0))).join(' | ')} |`;
  const rule = widths.map((width, at) => (at < words ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`));
  const [head = [], ...body] = rows;
  return [line(head), `| ${rule.join(' | ')} |`, ...body.map(line)];
}

/** Formats a number with three significant digits at most, and two decimals at most. */
export function short(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

const figureNames: Readonly<Record<Figure, string>> = {
  wall: 'time',
  user: 'user CPU time',
  cpu: 'CPU time',
  memory: 'peak memory',
};
const units: Readonly<Record<Figure, string>> = { wall: ' s', user: ' s', cpu: ' s', memory: ' MiB' };

function goalText({ goal, of, value, isReached }: Verdict): string {
  const unit = of === undefined ? units[goal.figure] : '';
  const times = of === undefined ? '' : ` × ${of}`;
  return `${figureNames[goal.figure]} ≤ ${goal.limit}${unit}${times}: ${isReached ? 'reached' : '**missed**'} (${short(value)}${unit})`;
}

/** Says whether airlift is ahead of the fastest other tool, and which goals it reaches. */
export function conclusion(row: RowResult): string {
  const [peer, floor] = [fastest(row, 'peer'), fastest(row, 'floor')];
  const sentences: string[] = [];
  if (peer !== undefined) {
    const times = ratio(row, peer, 'wall');
    const place = times < 0.995 ? 'airlift is ahead' : times > 1.005 ? '**airlift is behind**' : 'A tie';
    sentences.push(`${place}: ${short(times)} × the time of ${peer.title}, the fastest other tool.`);
  }
  if (floor !== undefined)
    sentences.push(
      `airlift takes ${short(ratio(row, floor, 'wall'))} × the time of the floor, ${floor.title}.`,
    );
  const goals = verdicts(row).map(goalText);
  if (goals.length > 0) sentences.push(`Goals: ${goals.join('; ')}.`);
  return sentences.join(' ');
}

/** Returns the table with one line per row: ratios first, then seconds. */
export function summary(rows: readonly RowResult[]): string[] {
  const head = [
    'Work',
    'Time ÷ fastest other tool',
    'Time ÷ floor',
    'airlift (s)',
    'Other tool (s)',
    'Floor (s)',
  ];
  const lines = rows.map((row) => {
    const [peer, floor] = [fastest(row, 'peer'), fastest(row, 'floor')];
    const cells = [peer, floor].map((other) => [
      other === undefined ? '' : short(ratio(row, other, 'wall')),
      other === undefined ? '' : short(figureOf(other, 'wall')),
    ]);
    return [
      row.title,
      cells[0]?.[0] ?? '',
      cells[1]?.[0] ?? '',
      short(figureOf(airliftOf(row), 'wall')),
      cells[0]?.[1] ?? '',
      cells[1]?.[1] ?? '',
    ];
  });
  return aligned([head, ...lines], 1);
}

/** Returns the section of one row. */
function section(row: RowResult): string[] {
  const airlift = airliftOf(row);
  const head = [
    'Tool',
    "airlift's time ÷ its time",
    "airlift's CPU ÷ its CPU",
    'Time (s)',
    'from – to',
    'CPU (s)',
    'of it user (s)',
    'Peak memory (MiB)',
  ];
  const lines = row.contenders.map((contender) => {
    const walls = contender.runs.map(({ wall }) => wall);
    const isAirlift = contender === airlift;
    return [
      contender.title,
      isAirlift ? '' : short(ratio(row, contender, 'wall')),
      isAirlift ? '' : short(ratio(row, contender, 'cpu')),
      short(figureOf(contender, 'wall')),
      `${short(Math.min(...walls))} – ${short(Math.max(...walls))}`,
      short(figureOf(contender, 'cpu')),
      short(figureOf(contender, 'user')),
      figureOf(contender, 'memory').toFixed(0),
    ];
  });
  const rounds = airlift.runs.length;
  return [
    `### ${row.title}`,
    '',
    row.work,
    '',
    conclusion(row),
    '',
    ...aligned([head, ...lines], 1),
    '',
    `${rounds === 1 ? 'One round' : `Medians of ${rounds} rounds`}. The contenders run:`,
    '',
    ...row.contenders.map(({ title, does }) => `- ${title}: ${does}.`),
    '',
  ];
}

/** Returns the whole report. */
export function report(conditions: string, chart: string, rows: readonly RowResult[]): string {
  return [
    conditions,
    '',
    `![Time of airlift and of the other tools, row by row](${chart})`,
    '',
    ...summary(rows),
    '',
    ...rows.flatMap(section),
  ]
    .join('\n')
    .trimEnd();
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
