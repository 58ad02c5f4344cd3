import type { ProgressEvent } from '../index.js';
import { formatBytes, formatDuration } from './format.js';

/** The rate is that of the last seconds: a mean over hours says nothing about now. */
const windowMilliseconds = 15_000;
const sampleMilliseconds = 500;

interface Moving {
  readonly size: number;
  readonly repository: string | undefined;
  /** The most bytes that were in place. */
  bytes: number;
}

/** Sums up blobs: how many bytes are in place, how many this run moved, at what rate. */
export class Meter {
  readonly #moving = new Map<string, Moving>();
  readonly #done = new Set<string>();
  readonly #samples: { readonly at: number; readonly moved: number }[] = [];
  #exactTotal: number | undefined;
  #knownTotal = 0;
  #doneBytes = 0;
  #moved = 0;
  #images = 0;
  #plannedImages = 0;
  #finishedImages = 0;

  constructor(private readonly now: () => number = Date.now) {}

  take(event: ProgressEvent): void {
    switch (event.event) {
      case 'planned':
        this.#exactTotal = event.bytes + event.resumedBytes;
        this.#images = event.images;
        break;
      case 'image-planned':
        this.#images = event.images;
        this.#plannedImages++;
        this.#knownTotal += event.bytes;
        break;
      case 'blob':
        this.#takeBlob(event);
        break;
      case 'blob-done':
        this.#finishBlob(event);
        break;
      case 'image-done':
      case 'image-failed':
        // What failed while it was looked up is no part of what is planned.
        if (this.#images > 0) this.#finishedImages++;
        break;
      case 'reading':
      case 'merged':
      case 'resolved':
      case 'warning':
        return;
    }
    this.#sample();
  }

  #takeBlob({ digest, size, bytes, repository }: ProgressEvent & { event: 'blob' }): void {
    if (this.#done.has(digest)) return;
    const known = this.#moving.get(digest);
    // What is in place at first was left there by an earlier run.
    if (known === undefined) this.#moving.set(digest, { size, repository, bytes });
    else if (bytes > known.bytes) {
      this.#moved += bytes - known.bytes;
      known.bytes = bytes;
    }
  }

  #finishBlob({ digest, size, how }: ProgressEvent & { event: 'blob-done' }): void {
    const known = this.#moving.get(digest);
    this.#moving.delete(digest);
    // A blob that several repositories need is counted once.
    if (this.#done.has(digest)) return;
    this.#done.add(digest);
    this.#doneBytes += size;
    if (how === 'downloaded' || how === 'copied' || how === 'uploaded')
      this.#moved += Math.max(0, size - (known?.bytes ?? 0));
  }

  #sample(): void {
    const at = this.now();
    const last = this.#samples.at(-1);
    if (last !== undefined && at - last.at < sampleMilliseconds) return;
    this.#samples.push({ at, moved: this.#moved });
    while (at - (this.#samples[1]?.at ?? at) > windowMilliseconds) this.#samples.shift();
  }

  /** Blobs under way, those that began first in front. */
  *moving(): Generator<{ digest: string } & Readonly<Moving>> {
    for (const [digest, blob] of this.#moving) yield { digest, ...blob };
  }

  /** Bytes in place. */
  get bytes(): number {
    let bytes = this.#doneBytes;
    for (const blob of this.#moving.values()) bytes += blob.bytes;
    return bytes;
  }

  /** Bytes that this run moved. */
  get moved(): number {
    return this.#moved;
  }

  /** Bytes a second that this run moves, without what was there before. */
  get rate(): number {
    const [first] = this.#samples;
    if (first === undefined) return 0;
    return (this.#moved - first.moved) / Math.max(0.001, (this.now() - first.at) / 1000);
  }

  /**
   * Bytes that are to be in place in the end; undefined where nothing is known yet. While images are still being looked up, those
   * that are missing are taken to be as large as the others.
   */
  get total(): { readonly bytes: number; readonly isExact: boolean } | undefined {
    if (this.#exactTotal !== undefined)
      return { bytes: Math.max(this.#exactTotal, this.bytes), isExact: true };
    if (this.#plannedImages === 0) return undefined;
    const isExact = this.#plannedImages >= this.#images;
    const bytes = isExact ? this.#knownTotal : (this.#knownTotal * this.#images) / this.#plannedImages;
    return { bytes: Math.max(bytes, this.bytes), isExact };
  }

  /** `3/12 images`; empty before the first is finished. */
  get images(): string {
    const finished = Math.min(this.#finishedImages, this.#images);
    return finished === 0 ? '' : `${finished}/${this.#images} images`;
  }

  /** `1.2 GB of 1.9 GB, 540 MB/s, 1.3 s left` */
  toString(): string {
    const { bytes, total, rate } = this;
    const of = total === undefined ? '' : ` of ${total.isExact ? '' : '~'}${formatBytes(total.bytes)}`;
    const left = total === undefined ? 0 : total.bytes - bytes;
    const time = left > 0 && rate > 0 ? `, ${formatDuration((left / rate) * 1000)} left` : '';
    return `${formatBytes(bytes)}${of}, ${formatBytes(rate)}/s${time}`;
  }
}
