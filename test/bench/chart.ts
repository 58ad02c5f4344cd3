/** The chart of the benchmark: an SVG image of plain shapes on a background of its own, readable in light and dark pages. */
import { short } from './report.js';
import { figureOf, type ContenderResult, type RowResult } from './results.js';

const width = 800;
const margin = 16;
/** Where bars begin; the names are to the left. */
const barsFrom = 190;
/** Length of the longest bar of a row. */
const longest = 520;
const barHeight = 14;
const barStep = 19;
const titleHeight = 30;
const headHeight = 44;

const colors = { airlift: '#0969da', peer: '#8c959f', floor: '#ffffff' } as const;
const meaning = {
  airlift: 'airlift',
  peer: 'other tools',
  floor: 'floor: work that no tool can leave out',
} as const;

const escapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
const escaped = (text: string): string => text.replaceAll(/[&<>"]/g, (character) => escapes[character] ?? '');

function text(x: number, y: number, content: string, more = ''): string {
  return `<text x="${x}" y="${y}"${more}>${escaped(content)}</text>`;
}

function bar(x: number, y: number, length: number, kind: ContenderResult['kind']): string {
  const size = `width="${length.toFixed(1)}" height="${barHeight}"`;
  return `<rect x="${x}" y="${y}" ${size} fill="${colors[kind]}" stroke="${kind === 'airlift' ? colors.airlift : '#57606a'}"/>`;
}

/** Draws one row: a bar for each contender. The slowest has the longest bar. */
function drawRow(row: RowResult, top: number): string[] {
  const slowest = Math.max(...row.contenders.map((contender) => figureOf(contender, 'wall')));
  const lines = [text(margin, top + 20, row.title.replaceAll('`', ''), ' font-weight="bold"')];
  for (const [at, contender] of row.contenders.entries()) {
    const y = top + titleHeight + at * barStep;
    const seconds = figureOf(contender, 'wall');
    const length = Math.max(1, (seconds / slowest) * longest);
    const weight = contender.kind === 'airlift' ? ' font-weight="bold"' : '';
    lines.push(
      text(barsFrom - 8, y + 11, contender.title.replaceAll('`', ''), ` text-anchor="end"${weight}`),
      bar(barsFrom, y, length, contender.kind),
      text(barsFrom + length + 6, y + 11, `${short(seconds)} s`, weight),
    );
  }
  return lines;
}

/** Returns the chart of those rows that have more than one contender. */
export function chart(rows: readonly RowResult[]): string {
  const shapes: string[] = [];
  let top = headHeight;
  for (const row of rows) {
    if (row.contenders.length < 2) continue;
    shapes.push(...drawRow(row, top));
    top += titleHeight + row.contenders.length * barStep + 8;
  }
  const height = top + 8;
  const legend = (['airlift', 'peer', 'floor'] as const).flatMap((kind, at) => {
    const x = barsFrom + at * 120;
    return [bar(x, 18, barHeight, kind), text(x + barHeight + 6, 29, meaning[kind])];
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="-apple-system, 'Segoe UI', Helvetica, Arial, sans-serif" font-size="12" fill="#1f2328">`,
    '<title>Time of airlift and of other tools; shorter is better</title>',
    `<rect width="${width}" height="${height}" rx="8" fill="#f6f8fa" stroke="#d0d7de"/>`,
    text(margin, 29, 'Shorter is better', ' font-weight="bold"'),
    ...legend,
    ...shapes,
    '</svg>',
    '',
  ].join('\n');
}
