/** Set-up for all rounds: images in a registry, a proxy in front of it, and the result of an undisturbed export. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Digest } from '../../src/oci/digest.js';
import { airlift } from '../support/airlift.js';
import { startFaultProxy, type FaultProxy } from '../support/faults.js';
import { companionsOf, multiPlatform, singlePlatform, type NamedImage } from '../support/image-sets.js';
import { pushImage } from '../support/push-image.js';
import { serveStore } from '../support/serve-store.js';
import { temp, type Cleanup } from '../support/temp.js';
import { walkImage, type Walk } from '../support/walk.js';

export const env = { SOURCE_DATE_EPOCH: '1700000000' };

export interface Arena {
  readonly proxy: FaultProxy;
  /** References of the images that commands export. */
  readonly references: readonly string[];
  /** All images that must arrive, with their content. */
  readonly images: readonly {
    readonly repository: string;
    readonly tag: string;
    readonly root: Digest;
    readonly walk: Walk;
  }[];
  /** Path of an undisturbed bundle. */
  readonly bundle: string;
  readonly bytes: Buffer;
  /** Size of the largest blob, in bytes. */
  readonly largest: number;
  /** Cost of an undisturbed export. */
  readonly usual: { readonly milliseconds: number; readonly requests: number; readonly bytes: number };
}

/** @param bigBytes size of each platform's large layer */
export async function prepare(t: Cleanup, bigBytes: number): Promise<Arena> {
  const host = await serveStore(t);
  const proxy = await startFaultProxy({ upstream: `http://${host}` });
  t.after(() => proxy.stop());
  const named: NamedImage[] = [
    {
      repository: 'acme/web',
      tag: '1.0',
      image: multiPlatform({ name: 'web', bigBytes, attestations: true }),
    },
    { repository: 'acme/db', tag: '2', image: multiPlatform({ name: 'db', bigBytes }) },
    {
      repository: 'team/tool',
      tag: 'v3',
      image: singlePlatform('linux/arm64', { name: 'tool', bigBytes: 300_000 }),
    },
    { repository: 'team/small', tag: '1', image: multiPlatform({ name: 'small' }) },
  ];
  const signed = named[0];
  const companions = signed === undefined ? [] : companionsOf(signed);
  for (const { repository, tag, image } of [...named, ...companions])
    await pushImage(host, repository, tag, image);
  const references = named.map(({ repository, tag }) => `${proxy.host}/${repository}:${tag}`);
  const bundle = join(temp(t), 'site.tar');
  const started = Date.now();
  await airlift(['export', ...references, '-o', bundle], { env });
  const milliseconds = Date.now() - started;
  const { requests } = proxy.log;
  const usual = {
    milliseconds,
    requests: requests.length,
    bytes: requests.reduce((sum, { sent }) => sum + sent, 0),
  };
  const images = await Promise.all(
    [...named, ...companions].flatMap(({ repository, tag, image }) =>
      tag === undefined
        ? []
        : [walkImage(image).then((walk) => ({ repository, tag, root: image.root.digest, walk }))],
    ),
  );
  return { proxy, references, images, bundle, bytes: readFileSync(bundle), largest: bigBytes, usual };
}
