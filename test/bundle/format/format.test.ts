import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { needs, run } from '../../support/peers.js';
import { temp } from '../../support/temp.js';
import { everyKind, writeBundle } from '../write-bundle.js';

test(
  'the schema of a catalog is the one that the format is described with',
  { skip: needs('tar', 'sqlite3') },
  async (t) => {
    const dir = temp(t);
    await writeBundle(join(dir, 'a.tar'), everyKind());
    await run('tar', ['xf', join(dir, 'a.tar'), '-C', dir, 'airlift/catalog.db']);
    const query =
      "SELECT sql || ';' FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type = 'view', type = 'index'";
    const { stdout } = await run('sqlite3', ['-readonly', join(dir, 'airlift/catalog.db'), query]);
    const document = readFileSync(
      fileURLToPath(new URL('../../../../docs/bundle-format.md', import.meta.url)),
      'utf8',
    );
    const described = /```sql\n(CREATE.*?)```/s.exec(document)?.[1] ?? '';
    const statements = (text: string): string[] => text.split(/;\n+/).filter((statement) => statement !== '');
    assert.deepEqual(statements(described), statements(stdout));
    const header = readFileSync(join(dir, 'airlift/catalog.db')).subarray(0, 100);
    assert.deepEqual(
      [24, 60, 68, 92, 96].map((at) => header.readUInt32BE(at)),
      [1, 1, 0x61726c66, 1, 3_008_002],
    );
  },
);
