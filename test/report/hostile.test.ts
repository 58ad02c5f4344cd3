import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Digest } from '../../src/oci/digest.js';
import type { ReceiptReport } from '../../src/report/receipt-report.js';
import { reportOn, type Report } from '../../src/report/report.js';
import { formatReport, reportFormats } from '../../src/report/write-report.js';
import { writeBundle } from '../bundle/write-bundle.js';
import { airlift } from '../support/airlift.js';
import { imageOf } from '../support/images.js';
import { temp } from '../support/temp.js';

const digest = `sha256:${'a'.repeat(64)}` as Digest;

/** Returns a report whose every text from outside is `text`. */
function reportWith(text: string): Report {
  const side = { path: text, kind: 'bundle', time: text, registry: text, images: 1 } as const;
  return {
    kind: 'bundle',
    bundle: `x${text.replaceAll('/', '')}`,
    size: 1,
    created: '2026-01-01T00:00:00Z',
    sums: digest,
    volumes: [{ name: text, size: 1 }],
    signedBy: [
      { place: text.replaceAll('/', ''), format: 'minisign', state: 'unchecked', keyId: text, comment: text },
      { place: 'x', format: 'unknown', state: 'malformed', detail: text },
    ],
    blobs: 1,
    blobBytes: 1,
    leftOut: 1,
    leftOutBytes: 1,
    images: [
      {
        reference: 'registry.example/acme/app:1',
        digest,
        original: digest,
        size: 1,
        ownBytes: 1,
        change: 'moved',
        newBytes: 1,
        platforms: [
          {
            platform: text,
            digest,
            size: 1,
            created: text,
            labels: Object.fromEntries(
              ['version', 'source', 'licenses', 'revision'].map((name) => [
                `org.opencontainers.image.${name}`,
                text,
              ]),
            ),
          },
        ],
        attached: [
          {
            kind: 'signature',
            type: text,
            digest,
            subject: digest,
            statedSigner: text,
            signature: { state: 'unchecked' },
          },
          {
            kind: 'sbom',
            type: text,
            digest,
            subject: digest,
            signature: { state: 'valid', keyId: text, keyFile: text },
          },
        ],
      },
    ],
    shared: [{ images: 2, blobs: 1, bytes: 1 }],
    packages: [{ name: text, version: text, licenses: text, purl: text, images: 1, references: [text] }],
    since: {
      from: [side],
      to: side,
      changes: [
        { change: 'removed', image: text, from: digest },
        {
          change: 'added',
          image: text,
          reference: 'registry.example/acme/app:1',
          to: digest,
          size: 1,
          newBytes: 1,
        },
      ],
      unchanged: 1,
      newBlobs: { blobs: 1, bytes: 1 },
      isUpperBound: true,
      companions: 1,
    },
    delta: {
      bases: [{ kind: 'receipt', registry: text, time: text, digest }],
      blobs: 1,
      bytes: 1,
      leftOut: [{ digest, size: 1, images: [text], base: text }],
      isCompared: true,
    },
    notes: [text],
  };
}

function receiptWith(text: string): ReceiptReport {
  return {
    kind: 'receipt',
    receipt: `x${text.replaceAll('/', '')}`,
    registry: text,
    time: text,
    writtenBy: text,
    digest,
    signedBy: [],
    repositories: 1,
    images: 1,
    companions: 1,
    entries: [{ repository: 'registry.example/app', tag: '1', digest, content: text, change: 'added' }],
    notes: [text],
  };
}

/** Lists the tags of a page with the names of their attributes: text must not add any. */
function tagsOf(html: string): string[] {
  return [...html.matchAll(/<(\/?[a-z0-9]+)((?:\s+[a-z-]+(?:="[^"]*")?)*)\s*\/?>/gi)].map(
    ([, name = '', attributes = '']) =>
      `${name} ${[...attributes.matchAll(/([a-z-]+)(?:="[^"]*")?/gi)].map(([, one]) => one).join(' ')}`,
  );
}

/** Splits a table by RFC 4180. */
function rowsOf(csv: string): string[][] {
  const rows: string[][] = [[]];
  for (const [, quoted, plain, end] of csv.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/g)) {
    rows.at(-1)?.push(quoted?.replaceAll('""', '"') ?? plain ?? '');
    if (end === '\r\n') rows.push([]);
  }
  return rows.slice(0, -1);
}

const formatted = (report: Report | ReceiptReport, format: (typeof reportFormats)[number]): string =>
  [...formatReport(report, { format, version: '1' })].join('');

// Control characters other than the line ends that airlift writes, bidirectional marks, zero-width characters.
const hidden = /[^\P{Cc}\r\n]|[\p{Cf}\p{Zl}\p{Zp}]/u;

const hostile = fc
  .array(
    fc.oneof(
      fc.string({ unit: 'binary', maxLength: 8 }),
      fc.constantFrom(
        '<',
        '>',
        '"',
        "'",
        '&',
        '\u001b[2J',
        '\u202e',
        '\u200b',
        '\r\n',
        '\u2028',
        '=1+1',
        '@',
        ',',
        '"onload="x',
      ),
      fc.constantFrom(
        '</title>',
        '</style>',
        '<script>',
        '-->',
        '${x}',
        '&lt;',
        '\\u003c',
        '\u0000',
        '\ud800',
        '__proto__',
      ),
    ),
    { maxLength: 8 },
  )
  .map((parts) => `x${parts.join('')}`);

test('no text from outside adds markup, a hidden character, a cell or a member to a report', () => {
  const shapes = [reportWith, receiptWith] as const;
  const plain = shapes.map((shape) => tagsOf(formatted(shape('x'), 'html')));
  const width = shapes.map((shape) => rowsOf(formatted(shape('x'), 'csv')).map((row) => row.length));
  fc.assert(
    fc.property(hostile, (text) => {
      for (const [at, shape] of shapes.entries()) {
        const report = shape(text);
        for (const format of reportFormats) assert.doesNotMatch(formatted(report, format), hidden);
        assert.deepEqual(tagsOf(formatted(report, 'html')), plain[at]);
        const rows = rowsOf(formatted(report, 'csv'));
        assert.deepEqual(
          rows.map((row) => row.length),
          width[at],
        );
        for (const cell of rows.flat()) assert.doesNotMatch(cell, /^[=+\-@]/);
        const json = JSON.parse(formatted(report, 'json')) as { notes: string[] };
        assert.deepEqual(json.notes, [text]);
        assert.equal(
          (JSON.parse(formatted(report, 'cyclonedx')) as { bomFormat: string }).bomFormat,
          'CycloneDX',
        );
      }
    }),
    { numRuns: 300, seed: 14 },
  );
});

test('a page with hostile text allows no other script and no request', () => {
  const html = formatted(reportWith('<script>x</script>'), 'html');
  assert.equal(html.match(/<script>/g)?.length, 1);
  assert.match(
    html,
    /content="default-src 'none'; style-src 'sha256-[^']+'; script-src 'sha256-[^']+'; base-uri 'none'; form-action 'none'"/,
  );
});

test('huge labels are cut: the page of images with 400 kB of labels each has a bounded size', async (t) => {
  const bundle = join(temp(t), 'huge.tar');
  const huge = Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`label-${at}`, 'x'.repeat(2000)]));
  const labels = { ...huge, 'org.opencontainers.image.version': '7'.repeat(5000) };
  const cargo = Array.from({ length: 100 }, (_, at) => ({
    reference: `registry.example/huge/image-${at}:1`,
    image: imageOf({
      platform: 'linux/amd64',
      layers: [],
      config: { config: { Labels: { ...labels, at: `${at}` } } },
    }),
  }));
  await writeBundle(bundle, cargo);
  const { images, notes } = await reportOn(bundle);
  const text = images.flatMap(({ platforms }) => platforms.flatMap((part) => Object.values(part.labels)));
  assert.ok(text.every((label) => label.length <= 2000));
  const sum = text.reduce((total, label) => total + label.length, 0);
  assert.ok(sum < 34 * 1024 * 1024, String(sum));
  assert.match(notes.join('\n'), /more labels than a report can hold/);
  assert.equal(images.length, 100);
  const { bytes } = await airlift(['report', bundle, '--no-verify', '-o', '-']);
  assert.ok(bytes.length < 48 * 1024 * 1024, String(bytes.length));
});
