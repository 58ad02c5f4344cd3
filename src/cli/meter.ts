import type { ProgressEvent } from '../index.js';
import { DigestMap } from '../oci/digest-map.js';
import { formatBytes, formatDuration } from './format.js';

/** The rate is the mean over this window: a mean over hours does not show the current speed. */
const windowMilliseconds = 15_000;
const sampleMilliseconds = 500;

interface Moving {
  readonly size: number;
  readonly repository: string | undefined;
  /** Highest number of bytes in place so far. */
  bytes: number;
}

/** Sums up the progress of blobs: bytes in place, bytes moved by this run, and the rate. */
export class Meter {
  readonly #moving = new Map<string, Moving>();
  /** Blobs that are in place, with the value 1. */
  readonly #done = new DigestMap();
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
        // Images that failed before planning are not part of the plan.
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
    if (this.#done.get(digest) > 0) return;
    const known = this.#moving.get(digest);
    // The bytes of the first event come from an earlier run.
    if (known === undefined) this.#moving.set(digest, { size, repository, bytes });
    else if (bytes > known.bytes) {
      this.#moved += bytes - known.bytes;
      known.bytes = bytes;
    }
  }

  #finishBlob({ digest, size, how }: ProgressEvent & { event: 'blob-done' }): void {
    const known = this.#moving.get(digest);
    this.#moving.delete(digest);
    // Count a blob once, even if several repositories need it.
    if (this.#done.get(digest) > 0) return;
    this.#done.set(digest, 1);
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

  /** Yields active blobs, oldest first. */
  *moving(): Generator<{ digest: string } & Readonly<Moving>> {
    for (const [digest, blob] of this.#moving) yield { digest, ...blob };
  }

  /** Bytes in place. */
  get bytes(): number {
    let bytes = this.#doneBytes;
    for (const blob of this.#moving.values()) bytes += blob.bytes;
    return bytes;
  }

  /** Bytes moved by this run. */
  get moved(): number {
    return this.#moved;
  }

  /** Bytes per second moved by this run. */
  get rate(): number {
    const [first] = this.#samples;
    if (first === undefined) return 0;
    return (this.#moved - first.moved) / Math.max(0.001, (this.now() - first.at) / 1000);
  }

  /**
   * Total bytes at the end; undefined while unknown. Until all images are planned, it assumes that the remaining images have the mean
   * size of the planned ones.
   */
  get total(): { readonly bytes: number; readonly isExact: boolean } | undefined {
    if (this.#exactTotal !== undefined)
      return { bytes: Math.max(this.#exactTotal, this.bytes), isExact: true };
    if (this.#plannedImages === 0) return undefined;
    const isExact = this.#plannedImages >= this.#images;
    const bytes = isExact ? this.#knownTotal : (this.#knownTotal * this.#images) / this.#plannedImages;
    return { bytes: Math.max(bytes, this.bytes), isExact };
  }

  /** Formats `3/12 images`; empty until an image is finished. */
  get images(): string {
    const finished = Math.min(this.#finishedImages, this.#images);
    return finished === 0 ? '' : `${finished}/${this.#images} images`;
  }

  /** Formats `1.2 GB of 1.9 GB, 540 MB/s, 1.3 s left`. */
  toString(): string {
    const { bytes, total, rate } = this;
    const of = total === undefined ? '' : ` of ${total.isExact ? '' : '~'}${formatBytes(total.bytes)}`;
    const left = total === undefined ? 0 : total.bytes - bytes;
    const time = left > 0 && rate > 0 ? `, ${formatDuration((left / rate) * 1000)} left` : '';
    return `${formatBytes(bytes)}${of}, ${formatBytes(rate)}/s${time}`;
  }
}
