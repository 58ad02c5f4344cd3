import { AirliftError } from '../errors.js';
import type { Digest } from '../oci/digest.js';
import type { Reference } from '../oci/reference.js';
import type { Image } from '../oci/source.js';
import type { Pointed, Publisher } from './publisher.js';
import { forEachOf } from '../concurrency.js';

/** Tags set at a time: they are to change in as short a while as can be. */
const tagConcurrency = 8;

export interface AtomicOptions {
  /** Change no tag before all of all images is there. */
  readonly atomic?: boolean | undefined;
  readonly keepGoing?: boolean | undefined;
}

/**
 * To change no tag before everything is there, and to publish what can be published, are two different wishes.
 * @throws AirliftError `usage` where both are asked for
 */
export function checkAtomic(verb: string, { atomic, keepGoing }: AtomicOptions): void {
  if (atomic !== true || keepGoing !== true) return;
  throw new AirliftError('usage', `${verb}: \`atomic\` and \`keepGoing\` contradict each other`, {
    hint: 'with `atomic` no tag changes where one image fails, with `keepGoing` the others do',
  });
}

/**
 * Notes what became of an image once all that belongs to it is done: an image whose signature fails has failed, and is not
 * counted twice.
 * @param note called when `work` has ended with every outcome until then, and with each later outcome at once
 */
export async function onceWhole(
  note: (pointed: Pointed) => void,
  work: (onDone: (pointed: Pointed) => void) => Promise<void>,
): Promise<void> {
  const waiting: Pointed[] = [];
  let isWhole = false;
  await work((pointed) => {
    if (isWhole) note(pointed);
    else waiting.push(pointed);
  });
  isWhole = true;
  waiting.forEach(note);
}

/** Publishes images one by one, each with its tag, or all of them first and their tags in the end. */
export class ImagePublisher {
  readonly #later: (() => Promise<void>)[] = [];

  constructor(
    private readonly publisher: Publisher,
    private readonly options: AtomicOptions,
  ) {}

  /**
   * Publishes an image under `name`.
   * @param onDone called with the outcome, at the latest during `finish`
   * @returns the digests of its manifests
   * @throws AirliftError as `Publisher.publish`
   */
  async publish(
    { reference, root, original }: Image,
    name: Reference,
    onDone: (pointed: Pointed) => void,
    wanted?: readonly Digest[],
  ): Promise<ReadonlySet<Digest>> {
    const { publisher } = this;
    const image = { reference, root, original };
    if (this.options.atomic !== true) {
      const { manifests, ...pointed } = await publisher.publish(image, name, wanted);
      onDone(pointed);
      return manifests;
    }
    const { lostPin, manifests } = await publisher.prepare(image, name, wanted);
    this.#later.push(async () => onDone(await publisher.point(image, name, lostPin)));
    return manifests;
  }

  /**
   * Sets the tags that were put off. To be called where nothing has failed.
   * @throws AirliftError as `Publisher.publish`; some tags are changed then
   */
  async finish(): Promise<void> {
    await forEachOf(this.#later.splice(0), tagConcurrency, (point) => point());
  }
}
