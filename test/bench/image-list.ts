import { writeFileSync } from 'node:fs';

/** The images of a corpus as `REPOSITORY:TAG`, and a file for shell loops with one line per image: image, and name in a layout. */
export interface ImageList {
  readonly images: readonly string[];
  readonly path: string;
}

export function writeImageList(path: string, images: readonly string[]): ImageList {
  writeFileSync(path, images.map((image) => `${image} ${image.replaceAll(/[/:]/g, '-')}\n`).join(''));
  return { images, path };
}
