import { createWriteStream } from 'node:fs';
import { access, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { TestImage } from './images.js';

/** An image and its name in `index.json` (`org.opencontainers.image.ref.name`); undefined for none. */
export interface NamedForLayout {
  readonly name: string | undefined;
  readonly image: TestImage;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Writes images as an OCI image layout into `dir` (image-spec, image-layout.md). */
export async function writeOciLayout(dir: string, images: readonly NamedForLayout[]): Promise<void> {
  for (const { image } of images) {
    for (const content of [...image.blobs.values(), ...image.manifests.values()]) {
      const [algorithm = '', hex = ''] = content.digest.split(':');
      await mkdir(join(dir, 'blobs', algorithm), { recursive: true });
      const path = join(dir, 'blobs', algorithm, hex);
      const exists = await access(path).then(
        () => true,
        () => false,
      );
      if (!exists) await pipeline(Readable.from(content.open()), createWriteStream(path));
    }
  }
  const manifests = images.map(({ name, image, annotations }) => ({
    mediaType: image.root.mediaType,
    digest: image.root.digest,
    size: image.root.size,
    annotations: {
      ...(name === undefined ? {} : { 'org.opencontainers.image.ref.name': name }),
      ...annotations,
    },
  }));
  await writeFile(
    join(dir, 'index.json'),
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests,
    }),
  );
  await writeFile(join(dir, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
}
