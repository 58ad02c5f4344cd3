import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { maxListed } from '../../src/archive/read/docker-archive.js';
import { maxMembers } from '../../src/archive/read/members.js';
import { headLimits } from '../../src/bundle/format/format.js';
import { listLimits as volumeLimits, maxVolumes } from '../../src/bundle/format/volumes/list.js';
import { maxReferences } from '../../src/lists/collector.js';
import { maxListLength } from '../../src/lists/read.js';
import { documentLimits, listLimits } from '../../src/oci/json.js';
import { maxDescriptors, maxManifestSize } from '../../src/oci/manifest.js';
import { maxDepth } from '../../src/plan/choose-platforms.js';
import { maxSignatureFile } from '../../src/signing/minisign-text.js';
import { projectFile } from '../support/doc-examples.js';

const text = readFileSync(projectFile('docs/SECURITY.md'), 'utf8');
const count = (value: number): string => value.toLocaleString('en');
const [KiB, MiB, GiB] = [1024, 1024 ** 2, 1024 ** 3];

test('the table of limits in docs/SECURITY.md states those of the code', () => {
  const rows = new Map(
    [...text.slice(text.indexOf('## Limits')).matchAll(/^\| (.*?) +\| (.*?) +\|$/gm)].map(
      ([, input, limit]) => [input, limit],
    ),
  );
  const wanted: [input: string, limit: string][] = [
    ['manifest, index', `${maxManifestSize / MiB} MiB; ${count(maxDescriptors)} children`],
    [
      'other JSON document',
      `${documentLimits.bytes / MiB} MiB; ${count(documentLimits.values)} values; ${documentLimits.depth} levels`,
    ],
    [
      '`index.json`, docker',
      `${listLimits.bytes / MiB} MiB; ${count(listLimits.values)} values; ${listLimits.depth} levels; ${count(maxListed)} images`,
    ],
    ['nesting of indexes', String(maxDepth)],
    [
      'bundle, before',
      `${headLimits.entries} entries; \`oci-layout\` ${headLimits.layout / KiB} KiB, \`index.json\` ${headLimits.index / MiB} MiB, catalog ${headLimits.catalog / GiB} GiB`,
    ],
    [
      'list of volumes',
      `${volumeLimits.bytes / MiB} MiB; ${count(volumeLimits.values)} values; ${volumeLimits.depth} levels; ${maxVolumes} volumes`,
    ],
    ['signature or key file', `${maxSignatureFile / KiB} KiB`],
    ['tar archive', `${count(maxMembers)} entries`],
    ['image list', `${maxListLength / MiB} Mi characters; ${count(maxReferences)} references`],
  ];
  for (const [input, limit] of wanted) {
    const row = [...rows].find(([name]) => name?.startsWith(input))?.[1];
    assert.ok(row?.startsWith(limit), `${input}: got ${row}, want ${limit}`);
  }
});
