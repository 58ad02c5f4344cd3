import type { Writable } from 'node:stream';
import { samePlatform, type Platform } from '../oci/platform.js';
import { formatReference, type Reference } from '../oci/reference.js';
import type { ArchiveEntry, Engine, ImageToLoad, Presence } from './engine.js';
import type { Program } from './program.js';

/** The label by which containerd's CRI plugin tells the kubelet not to remove an image. */
const pinLabel = 'io.cri-containerd.pinned=pinned';

interface ContainerdOptions {
  readonly label: string;
  readonly platform: Platform;
  readonly snapshotter: string | undefined;
  readonly pin: boolean;
}

/** A name in containerd's image store. */
interface Stored {
  readonly digest: string;
  readonly isPinned: boolean;
}

/**
 * containerd, through `ctr`. Every name points at the manifest of one platform, as in the files of `save --format k3s`: such images can be
 * imported, checked and run by every release, also for other platforms and where a config names the wrong platform.
 */
export class Containerd implements Engine {
  readonly label: string;
  readonly platform: Platform;

  /** @param ctr `ctr` with its global flags */
  constructor(
    private readonly ctr: Program,
    private readonly options: ContainerdOptions,
  ) {
    this.label = options.label;
    this.platform = options.platform;
  }

  async list(): Promise<(image: ImageToLoad) => Presence> {
    const stored = new Map<string, Stored>();
    for (const line of (await this.ctr.ask(['images', 'ls'])).split('\n').slice(1)) {
      const [name, , digest] = line.split(/\s+/);
      if (name !== undefined && digest !== undefined)
        stored.set(name, { digest, isPinned: line.includes(pinLabel) });
    }
    const complete = stored.size === 0 ? new Set<string>() : await this.#complete();
    return (image) => {
      const names = namesOf(image)
        .map(formatReference)
        .map((name) => ({ name, ...stored.get(name) }));
      const isHere = names.every(
        ({ name, digest }) => digest === image.manifest.digest && complete.has(name),
      );
      if (!isHere) return 'absent';
      return !this.options.pin || names.every(({ isPinned }) => isPinned === true) ? 'complete' : 'unpinned';
    };
  }

  /** Returns the names whose content containerd has in full. */
  async #complete(): Promise<Set<string>> {
    // The check fails after its report if the content of any image is missing.
    const report = await this.ctr.ask(['images', 'check'], true);
    const lines = report.split('\n').map((line) => line.split(/\s+/));
    return new Set(lines.flatMap(([name = '', , , status]) => (status === 'complete' ? [name] : [])));
  }

  entriesOf(image: ImageToLoad): ArchiveEntry[] {
    return namesOf(image).map((name) => ({ name, target: image.manifest }));
  }

  async send(platform: Platform, write: (to: Writable) => Promise<void>): Promise<void> {
    const { snapshotter } = this.options;
    // Only images that this machine can run are unpacked.
    const isForeign = !samePlatform(platform, this.platform);
    const unpack = isForeign
      ? ['--no-unpack']
      : snapshotter === undefined
        ? []
        : ['--snapshotter', snapshotter];
    await this.ctr.feed(['images', 'import', '--all-platforms', ...unpack, '-'], write);
  }

  async pin(image: ImageToLoad): Promise<void> {
    if (!this.options.pin) return;
    for (const name of namesOf(image))
      await this.ctr.ask(['images', 'label', formatReference(name), pinLabel]);
  }
}

function namesOf({ name, pinned }: ImageToLoad): Reference[] {
  return [name, ...pinned];
}
