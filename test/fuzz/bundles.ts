/** Small bundles of every kind, for the fuzz. */
import { BundleWriter } from '../../src/bundle/write/writer.js';
import type { Digest } from '../../src/oci/digest.js';
import { everyKind, fill, options, plan, type Cargo } from '../bundle/write-bundle.js';
import { multiPlatform, programLayer, singlePlatform } from '../support/image-sets.js';
import { imageOf, indexOf } from '../support/images.js';

/** Returns images of every kind, all of them small: also a filtered one, and configs that state another platform than their index. */
export function smallCargo(): Cargo[] {
  const full = multiPlatform({ name: 'part' });
  const part = singlePlatform('linux/arm64', { name: 'part' });
  const filtered = indexOf({ children: [part] });
  const windows = (version: string): ReturnType<typeof imageOf> =>
    imageOf({
      platform: { architecture: 'amd64', os: 'windows', 'os.version': version, 'os.features': ['win32k'] },
      layers: [programLayer('linux/amd64', 'windows')],
    });
  const lying = imageOf({ platform: 'linux/amd64', layers: [programLayer('linux/arm/v7', 'lying')] });
  const named = (name: string, image: Cargo['image'], original?: Cargo['image']): Cargo => ({
    reference: `registry.example/acme/${name}:1`,
    image,
    ...(original === undefined ? {} : { original }),
  });
  return [
    ...everyKind().filter(({ reference }) => reference?.includes('acme/tools') !== true),
    named('part', filtered, full),
    named('versions', indexOf({ children: [windows('10.0.17763.1'), windows('10.0.20348.1')] })),
    named('lying', indexOf({ children: [{ image: lying, platform: 'linux/arm/v7' }, part] })),
  ];
}

/** Writes a delta that leaves out every second layer. */
export async function writeDelta(path: string, cargo: readonly Cargo[], base: Digest): Promise<void> {
  const writer = await BundleWriter.open(path, options);
  plan(writer, cargo);
  writer.changeBase((change) => {
    change.add({
      kind: 'receipt',
      registry: 'site.example:5000',
      time: '2024-05-01T00:00:00Z',
      digest: base,
    });
    const layers = new Set(
      cargo.flatMap(({ image }) => [...image.blobs.keys()]).filter((digest) => change.isLayer(digest)),
    );
    for (const [at, digest] of [...layers].entries())
      if (at % 2 === 0)
        change.leaveOut(digest, [
          { kind: 'site', repository: 'acme/other' },
          { kind: 'source', repository: 'registry.example/acme/other' },
        ]);
  });
  await writer.layOut();
  await fill(writer, cargo);
  await writer.finish();
}
