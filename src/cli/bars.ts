import progress from 'cli-progress';
import { printAbove, standardError } from './output.js';

/** Between two drawings, in milliseconds. */
const interval = 200;

const hideCursor = '\u001b[?25l';
const showCursor = '\u001b[?25h';

/** One bar: what it is about, how full it is (0 to 1; undefined draws no bar), and figures. */
export interface Bar {
  readonly label: string;
  readonly part: number | undefined;
  readonly figures: string;
}

/** Cells between the brackets of a bar, by the columns that are left for it. */
const widest = 24;
const narrowest = 10;

/**
 * A bar of so many cells. cli-progress draws the bar alone: its MultiBar wraps lines on narrow terminals, writes over what others print,
 * and prints what it logs only at its next drawing.
 */
function barOf(part: number, cells: number): string {
  return progress.Format.BarFormat(Math.min(1, Math.max(0, part)), {
    barsize: cells,
    barCompleteString: '█'.repeat(cells),
    barIncompleteString: '░'.repeat(cells),
    barGlue: '',
  });
}

/** Text in a fixed number of columns; of what is too long the end is shown, which tells names and digests apart. */
function fitted(text: string, columns: number): string {
  if (text.length <= columns) return text.padEnd(columns);
  return columns < 2 ? text.slice(0, columns) : `…${text.slice(text.length - columns + 1)}`;
}

/**
 * Bars as lines that fit into `columns`: labels get what figures and bars leave. On narrow terminals first the bars become
 * shorter, then they go, then the labels; figures stay as long as they fit.
 */
export function drawBars(bars: readonly Bar[], columns: number): string[] {
  // Text in the last column wraps on some terminals.
  const width = Math.max(10, columns - 1);
  const labels = Math.max(...bars.map(({ label }) => label.length));
  const figures = Math.max(...bars.map((bar) => bar.figures.length));
  const left = width - figures;
  const label = Math.min(labels, Math.max(0, left - narrowest - 4));
  const cells = Math.min(widest, left - label - 4);
  return bars.map((bar) => {
    if (label < 8) {
      const names = Math.max(0, Math.min(labels, left - 1));
      return `${names < 4 ? '' : `${fitted(bar.label, names)} `}${bar.figures}`.slice(0, width).trimEnd();
    }
    const shown = bar.part === undefined ? ' '.repeat(cells + 2) : `[${barOf(bar.part, cells)}]`;
    return `${fitted(bar.label, label)} ${shown} ${bar.figures}`.slice(0, width).trimEnd();
  });
}

/**
 * Draws bars at the bottom of the terminal until they are stopped. Everything that is printed meanwhile appears above them, whole.
 * @param bars gives the bars as they are now, the most important first
 * @returns ends it and takes the bars off the terminal; may be called more than once
 */
export function showBars(bars: () => readonly Bar[]): () => void {
  let shown: readonly string[] = [];
  const columns = (): number => process.stderr.columns || 80;
  const clear = (): void => {
    if (shown.length === 0) return;
    // Where the terminal has become narrower, it has wrapped what was drawn.
    const lines = shown.reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / columns())), 0);
    shown = [];
    standardError.draw(`\r\u001b[${lines}A\u001b[J`);
  };
  const draw = (): void => {
    const most = Math.max(1, (process.stderr.rows || 24) - 2);
    const lines = drawBars(bars().slice(0, most), columns());
    clear();
    if (lines.length === 0) return;
    shown = lines;
    // The cursor waits below: what a terminal echoes of Ctrl-C does not shift the bars.
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
