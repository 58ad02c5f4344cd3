import progress from 'cli-progress';
import { printAbove, standardError } from './output.js';

/** Milliseconds between drawings. */
const interval = 200;

const hideCursor = '\u001b[?25l';
const showCursor = '\u001b[?25h';

/** One bar: label, filled part (0 to 1; undefined draws no bar) and figures. */
export interface Bar {
  readonly label: string;
  readonly part: number | undefined;
  readonly figures: string;
}

/** Limits for the number of cells between the brackets of a bar. */
const maxCells = 24;
const minCells = 10;

/**
 * Draws a bar. cli-progress draws only the bar itself: its MultiBar wraps lines on narrow terminals, overwrites other output, and
 * delays log lines until its next drawing.
 */
function barOf(part: number, cells: number): string {
  return progress.Format.BarFormat(Math.min(1, Math.max(0, part)), {
    barsize: cells,
    barCompleteString: '█'.repeat(cells),
    barIncompleteString: '░'.repeat(cells),
    barGlue: '',
  });
}

/** Fits text into a number of columns. Shows the end of longer text, because names and digests differ there. */
function fitColumns(text: string, columns: number): string {
  if (text.length <= columns) return text.padEnd(columns);
  return columns < 2 ? text.slice(0, columns) : `…${text.slice(text.length - columns + 1)}`;
}

/**
 * Formats bars as lines that fit into `columns`. On narrow terminals it first shortens the bars, then drops them, then drops the
 * labels; figures stay.
 */
export function drawBars(bars: readonly Bar[], columns: number): string[] {
  // Text in the last column wraps on some terminals.
  const width = Math.max(10, columns - 1);
  const labels = Math.max(...bars.map(({ label }) => label.length));
  const figures = Math.max(...bars.map((bar) => bar.figures.length));
  const left = width - figures;
  const label = Math.min(labels, Math.max(0, left - minCells - 4));
  const cells = Math.min(maxCells, left - label - 4);
  return bars.map((bar) => {
    if (label < 8) {
      const names = Math.max(0, Math.min(labels, left - 1));
      return `${names < 4 ? '' : `${fitColumns(bar.label, names)} `}${bar.figures}`.slice(0, width).trimEnd();
    }
    const shown = bar.part === undefined ? ' '.repeat(cells + 2) : `[${barOf(bar.part, cells)}]`;
    return `${fitColumns(bar.label, label)} ${shown} ${bar.figures}`.slice(0, width).trimEnd();
  });
}

/**
 * Draws bars at the bottom of the terminal until stopped. Other output appears above them.
 * @param bars returns the current bars, the most important first
 * @returns a function that stops and removes the bars; may be called more than once
 */
export function showBars(bars: () => readonly Bar[]): () => void {
  let shown: readonly string[] = [];
  const columns = (): number => process.stderr.columns || 80;
  const clear = (): void => {
    if (shown.length === 0) return;
    // A terminal that became narrower has wrapped the lines.
    const lines = shown.reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / columns())), 0);
    shown = [];
    standardError.draw(`\r\u001b[${lines}A\u001b[J`);
  };
  const draw = (): void => {
    const maxBars = Math.max(1, (process.stderr.rows || 24) - 2);
    const lines = drawBars(bars().slice(0, maxBars), columns());
    clear();
    if (lines.length === 0) return;
    shown = lines;
    // The cursor waits below the bars, so that the echo of Ctrl-C does not shift them.
    standardError.draw(`${lines.join('\n')}\n`);
  };
  const stop = (): void => {
    if (timer === undefined) return;
    clearInterval(timer);
    timer = undefined;
    clear();
    standardError.draw(showCursor);
    printAbove(undefined);
    process.off('exit', stop);
  };
  let timer: NodeJS.Timeout | undefined = setInterval(draw, interval);
  timer.unref();
  printAbove({ clear });
  standardError.draw(hideCursor);
  process.on('exit', stop);
  return stop;
}
