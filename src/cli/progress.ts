import type { OnEvent, ProgressEvent } from '../index.js';
import type { OutputArguments } from './flags.js';
import { showBars, type Bar } from './bars.js';
import { count, formatBytes, printable } from './format.js';
import { prepareIfMany } from './heap.js';
import { eventWithFlags } from './hints.js';
import { Meter } from './meter.js';
import { printJson, printNote, printNotes } from './print.js';
import { countImages } from './signatures.js';

/** Shows the events of a command until `stop`. */
export interface ProgressView {
  readonly onEvent: OnEvent;
  stop(): void;
}

function mergedPart({
  name,
  file,
  platforms,
}: Extract<ProgressEvent, { event: 'merged' }>['from'][number]): string {
  return `${name} in ${file}${platforms.length > 0 ? ` (${platforms.join(', ')})` : ''}`;
}

/** Formats the log line of an event; undefined for events without one. */
function lineOf(event: ProgressEvent): string | undefined {
  switch (event.event) {
    case 'reading':
      return printable(`reading ${event.file}`);
    case 'resolved':
      return printable(`Resolved: ${event.position}/${event.images} ${event.image}`);
    case 'planned':
      return `${countImages(event.images - event.signatures, event.signatures)}, ${count(event.blobs, 'blob')}, ${formatBytes(event.bytes)} to transfer${event.resumedBytes > 0 ? `, ${formatBytes(event.resumedBytes)} kept from an earlier run` : ''}`;
    case 'image-done':
      return printable(
        `Progress: ${event.position}/${event.images} ${event.image} ${event.outcome ?? 'done'} ${event.digest}`,
      );
    case 'image-failed':
      return printable(`failed ${event.image}: ${event.message}`).concat(
        event.hint === undefined ? '' : `\n  hint: ${printable(event.hint)}`,
      );
    case 'warning':
      return printable(`warning: ${event.message}`);
    case 'merged':
      return printable(`merged ${event.image}: ${event.from.map(mergedPart).join(', ')}`);
    case 'image-planned':
    case 'blob':
    case 'blob-done':
      return undefined;
  }
}

/** Minimum milliseconds between byte-count lines in a log, and between NDJSON events of one active blob. */
const logInterval = 10_000;
const jsonInterval = 500;

/** Prints one line per image, and the byte count every ten seconds. */
function lineView(): ProgressView {
  const meter = new Meter();
  let last = Date.now();
  return {
    onEvent(event) {
      meter.take(event);
      const line = lineOf(event);
      if (line !== undefined) printNotes(line);
      else if (Date.now() - last > logInterval) {
        last = Date.now();
        printNote(meter.toString());
      }
    },
    stop: () => undefined,
  };
}

/** Prints every event as one line of JSON; events of an active blob at most twice a second. */
function jsonView(): ProgressView {
  const last = new Map<string, number>();
  return {
    onEvent(event) {
      if (event.event === 'blob') {
        const now = Date.now();
        if (now - (last.get(event.digest) ?? 0) < jsonInterval) return;
        last.set(event.digest, now);
      } else if (event.event === 'blob-done') {
        last.delete(event.digest);
      }
      printJson(event);
    },
    stop: () => undefined,
  };
}

/** Draws one bar for the total and one for each active blob. */
function barView(): ProgressView {
  const meter = new Meter();
  let resolving = '';
  const bars = (): Bar[] => {
    const { total, bytes } = meter;
    const part = total === undefined ? undefined : bytes / Math.max(1, total.bytes);
    const all = { label: meter.images === '' ? 'total' : meter.images, part, figures: meter.toString() };
    if (total === undefined && bytes === 0)
      return resolving === '' ? [] : [{ label: resolving, part: undefined, figures: '' }];
    return [
      all,
      ...Array.from(meter.moving(), (blob) => ({
        label: `${nameOf(blob.repository)} ${blob.digest.replace(/^[^:]*:/, '').slice(0, 8)}`.trimStart(),
        part: blob.bytes / Math.max(1, blob.size),
        figures: `${formatBytes(blob.bytes)} of ${formatBytes(blob.size)}`,
      })),
    ];
  };
  const stop = showBars(bars);
  return {
    onEvent(event) {
      meter.take(event);
      // The bars count resolved and finished images; the summary lists them.
      if (event.event === 'resolved') resolving = `${event.position}/${event.images} images resolved`;
      else if (event.event !== 'image-done') {
        const line = lineOf(event);
        if (line !== undefined) printNotes(line);
      }
    },
    stop,
  };
}

/** Returns the path of a repository, without its registry. */
function nameOf(repository: string | undefined): string {
  return printable(repository?.replace(/^[^/]*[.:][^/]*\//, '') ?? '');
}

/** Reports whether standard error is a terminal with cursor movement. */
function canDrawBars(): boolean {
  return process.stderr.isTTY === true && process.env['TERM'] !== 'dumb';
}

function chooseView(args: Pick<OutputArguments, 'json' | 'quiet'>, isLines: boolean): ProgressView {
  if (args.json) return jsonView();
  if (args.quiet)
    return {
      onEvent: (event) => event.event === 'warning' && printNote(`warning: ${event.message}`),
      stop: () => undefined,
    };
  return canDrawBars() && !isLines ? barView() : lineView();
}

/**
 * Shows progress as NDJSON with `--json`, as bars on a terminal, as lines in a log; with `--quiet`, shows only warnings. Keeps memory flat for
 * runs with many images.
 * @param isLines lines on a terminal, too
 */
export function progressView(args: Pick<OutputArguments, 'json' | 'quiet'>, isLines = false): ProgressView {
  const view = chooseView(args, isLines);
  const watchImages = prepareIfMany();
  return {
    onEvent(event) {
      watchImages(event);
      view.onEvent(eventWithFlags(event));
    },
    stop: () => view.stop(),
  };
}

/** Progress of a check. */
interface Checked {
  /** What is done with the bytes; default: they are verified. */
  readonly phase?: string | undefined;
  readonly bytes: number;
  readonly totalBytes: number;
}

/** Draws one bar, on terminals only: checking runs at disk speed, so a log needs no progress lines. */
export function checkBar(
  label = 'verified',
): { onProgress: (checked: Checked) => void; stop(): void } | undefined {
  if (!canDrawBars()) return undefined;
  let checked: Checked | undefined;
  const stop = showBars(() => {
    if (checked === undefined) return [];
    const { phase = label, bytes, totalBytes } = checked;
    const figures = `${formatBytes(bytes)} of ${formatBytes(totalBytes)}`;
    return [{ label: phase, part: bytes / Math.max(1, totalBytes), figures }];
  });
  return { onProgress: (now) => void (checked = now), stop };
}
