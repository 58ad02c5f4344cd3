import { MultiBar, Presets, SingleBar } from 'cli-progress';
import type { OnEvent, ProgressEvent } from '../progress.js';
import type { OutputArguments } from './flags.js';
import { count, formatBytes, formatDuration, printable } from './format.js';
import { printJson, printNote, printNotes } from './print.js';

/** Shows what a verb reports. `stop` must be called before anything else is printed. */
export interface ProgressView {
  readonly onEvent: OnEvent;
  stop(): void;
}

/** The text for an event that is worth a line in a log, ready to be printed; undefined for the others. */
export function lineOf(event: ProgressEvent): string | undefined {
  switch (event.event) {
    case 'reading':
      return printable(`reading ${event.file}`);
    case 'resolved':
      return printable(`Resolved: ${event.position}/${event.images} ${event.image}`);
    case 'planned':
      return `${count(event.images, 'image')}, ${count(event.blobs, 'blob')}, ${formatBytes(event.bytes)} to transfer${event.resumedBytes > 0 ? `, ${formatBytes(event.resumedBytes)} there from before` : ''}`;
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
    case 'blob':
    case 'blob-done':
      return undefined;
  }
}

/** How often a log gets a line about bytes, and NDJSON an event about a blob under way, in milliseconds. */
const logInterval = 10_000;
const jsonInterval = 500;

/** Sums up blobs: how many bytes are in place, at what rate. */
class Meter {
  #total = 0;
  #done = 0;
  #started = Date.now();
  readonly #current = new Map<string, number>();

  take(event: ProgressEvent): void {
    if (event.event === 'planned') {
      this.#total = event.bytes + event.resumedBytes;
      this.#started = Date.now();
    } else if (event.event === 'blob') {
      this.#current.set(event.digest, event.bytes);
    } else if (event.event === 'blob-done') {
      this.#current.delete(event.digest);
      this.#done += event.size;
    }
  }

  get bytes(): number {
    let bytes = this.#done;
    for (const part of this.#current.values()) bytes += part;
    return bytes;
  }

  get total(): number {
    return this.#total;
  }

  /** `1.2 GB of 1.9 GB, 540 MB/s, 1.3 s left` */
  toString(): string {
    const { bytes } = this;
    const seconds = Math.max(0.001, (Date.now() - this.#started) / 1000);
    const rate = bytes / seconds;
    const known = this.#total > 0;
    const left = known && rate > 0 ? `, ${formatDuration(((this.#total - bytes) / rate) * 1000)} left` : '';
    return `${formatBytes(bytes)}${known ? ` of ${formatBytes(this.#total)}` : ''}, ${formatBytes(rate)}/s${left}`;
  }
}

/** For logs: a line an image, and one about bytes every ten seconds. */
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

/** For scripts: every event as one line of JSON, blobs under way at most twice a second. */
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

/** For people: a bar a blob under way, and one for all of it. */
function barView(): ProgressView {
  const meter = new Meter();
  const multi = new MultiBar(
    {
      clearOnComplete: true,
      hideCursor: true,
      fps: 5,
      format: '{label} [{bar}] {figures}',
      barsize: 24,
      stream: process.stderr,
      emptyOnZero: true,
    },
    Presets.shades_classic,
  );
  let total: SingleBar | undefined;
  const bars = new Map<string, SingleBar>();
  const label = (text: string): string => printable(text).slice(0, 19).padEnd(19);
  const log = (text: string): void => void multi.log(`${text}\n`);
  return {
    onEvent(event) {
      meter.take(event);
      const line = lineOf(event);
      if (line !== undefined) log(line);
      if (event.event === 'planned') {
        total = multi.create(Math.max(1, meter.total), 0, { label: label('total'), figures: '' });
      } else if (event.event === 'blob') {
        let bar = bars.get(event.digest);
        if (bar === undefined) {
          bar = multi.create(Math.max(1, event.size), 0, { label: label(event.digest), figures: '' });
          bars.set(event.digest, bar);
        }
        bar.update(event.bytes, { figures: `${formatBytes(event.bytes)} of ${formatBytes(event.size)}` });
      } else if (event.event === 'blob-done') {
        const bar = bars.get(event.digest);
        if (bar !== undefined) multi.remove(bar);
        bars.delete(event.digest);
      }
      total?.update(Math.min(meter.bytes, Math.max(1, meter.total)), { figures: meter.toString() });
    },
    stop() {
      multi.stop();
    },
  };
}

/** Chooses how progress is shown: NDJSON with `--json`, bars on a terminal, lines in a log, nothing with `--quiet`. */
export function progressView(args: Pick<OutputArguments, 'json' | 'quiet'>): ProgressView {
  if (args.json) return jsonView();
  if (args.quiet)
    return {
      onEvent: (event) => event.event === 'warning' && printNote(`warning: ${event.message}`),
      stop: () => undefined,
    };
  return process.stderr.isTTY ? barView() : lineView();
}

/** How far checking has come. */
interface Checked {
  readonly bytes: number;
  readonly totalBytes: number;
}

/** One bar, on a terminal only: checking is as fast as the disk, a log needs no lines of it. */
export function checkBar(): { onProgress: (checked: Checked) => void; stop(): void } | undefined {
  if (!process.stderr.isTTY) return undefined;
  const bar = new SingleBar(
    {
      format: 'verify [{bar}] {figures}',
      barsize: 24,
      hideCursor: true,
      clearOnComplete: true,
      fps: 5,
      stream: process.stderr,
    },
    Presets.shades_classic,
  );
  bar.start(1, 0, { figures: '' });
  return {
    onProgress({ bytes, totalBytes }) {
      bar.setTotal(Math.max(1, totalBytes));
      bar.update(bytes, { figures: `${formatBytes(bytes)} of ${formatBytes(totalBytes)}` });
    },
    stop: () => bar.stop(),
  };
}
