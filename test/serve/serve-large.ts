import assert from 'node:assert/strict';
import { utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { AirliftError } from '../../src/errors.js';
import { serve, type ServeOptions, type Serving } from '../../src/serve/serve.js';
import { writeBundle } from '../bundle/write-bundle.js';
import type { Content } from '../support/content.js';
import { singlePlatform } from '../support/image-sets.js';
import type { TestImage } from '../support/images.js';
import { temp } from '../support/temp.js';

/** Larger than what the sockets and buffers between server and client hold. */
export const bigBytes = 24_000_000;

/** The modification time of the served file: a time that a tool can restore after it wrote to the file. */
export const savedTime = new Date('2024-05-06T07:08:09Z');

export function largestBlob(image: TestImage): Content {
  const [blob] = [...image.blobs.values()].sort((left, right) => right.size - left.size);
  assert.ok(blob !== undefined);
  return blob;
}

/** A served bundle with one large layer. */
export interface ServedLarge {
  readonly serving: Serving;
  readonly path: string;
  readonly layer: Content;
  /** Address of the layer. */
  readonly url: string;
  /** Errors that the server reported. */
  readonly errors: AirliftError[];
}

/** Serves a bundle with one large layer. */
export async function serveLarge(t: TestContext, options: ServeOptions = {}): Promise<ServedLarge> {
  const image = singlePlatform('linux/amd64', { name: 'large', bigBytes });
  const path = join(temp(t), 'site.tar');
  await writeBundle(path, [{ reference: 'docker.io/acme/large:1', image }]);
  await utimes(path, savedTime, savedTime);
  const errors: AirliftError[] = [];
  const onError = (error: AirliftError): void => void errors.push(error);
  const serving = await serve({ inputs: [path] }, { port: 0, onError, ...options });
  t.after(() => serving.close());
  const layer = largestBlob(image);
  return { serving, path, layer, url: `${serving.url}/v2/acme/large/blobs/${layer.digest}`, errors };
}
