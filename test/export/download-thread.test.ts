import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { DownloadThread } from '../../src/export/download-thread.js';
import { digestOf } from '../../src/oci/digest.js';
import { temp } from '../support/temp.js';

test(
  'a thread that ended by itself fails its downloads, and those that come later',
  { timeout: 60_000 },
  async (t) => {
    const place = join(temp(t), 'site.tar.partial');
    writeFileSync(place, '');
    // The registry's options are refused in the thread, before the first download.
    const thread = new DownloadThread(
      { place, registry: { proxy: { http: 'ftp://proxy.example' } }, retries: 0 },
      {},
    );
    const digest = digestOf(Buffer.from('layer'));
    const task = {
      repository: { registry: 'registry.example', repository: 'acme/app' },
      descriptor: { mediaType: 'application/vnd.oci.image.layer.v1.tar', digest, size: 5 },
      have: 0,
    };
    const download = (): Promise<number> => thread.download(task, 0, () => undefined);
    const refusal = { code: 'io', message: /^download: .*ftp: proxies are not supported/ };
    await assert.rejects(download(), refusal);
    await assert.rejects(download(), refusal);
    await thread.close();
  },
);
