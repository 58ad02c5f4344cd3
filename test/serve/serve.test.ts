import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { isAirliftError } from '../../src/errors.js';
import { serve } from '../../src/serve/serve.js';
import { assortment } from '../support/image-sets.js';
import { pushImage } from '../support/push-image.js';
import { temp } from '../support/temp.js';
import { sameContent, walkImage, walkRegistry } from '../support/walk.js';

test('a served directory keeps its content across restarts', async (t) => {
  const store = join(temp(t), 'store');
  const first = await serve({ store }, { port: 0 });
  const { nested } = assortment();
  assert.ok(nested?.tag !== undefined);
  await pushImage(`${first.host}:${first.port}`, nested.repository, nested.tag, nested.image);
  await first.close();
  const second = await serve({ store }, { port: 0 });
  t.after(() => second.close());
  const walked = await walkRegistry(`${second.host}:${second.port}`, nested.repository, nested.tag);
  sameContent(walked.content, await walkImage(nested.image));
});

test('a port in use is refused, and an address that others reach is warned of', async (t) => {
  const store = join(temp(t), 'store');
  const { port, close } = await serve({ store }, { port: 0 });
  t.after(close);
  await assert.rejects(serve({ store }, { port }), (error) => isAirliftError(error, 'busy'));
  const remote = await serve({ store }, { host: '0.0.0.0', port: 0 });
  t.after(() => remote.close());
  assert.match(remote.warnings.join(), /everyone who reaches 0\.0\.0\.0 can pull, push and delete/);
});
