import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import type { VerifyReport } from '../verify.js';
import { formatBytes } from '../oci/bytes.js';
import { Html, markup } from './html-text.js';
import { labelsOf } from './labels.js';
import { script, style } from './page-assets.js';
import { sizeSection } from './size-section.js';
import type { Attached } from './attached.js';
import type { ReportedPackage } from './packages.js';
import type { Report, ReportedImage, ReportedPlatform } from './report.js';

/** Maximum number of packages on the page; the other formats list all. */
const maxPackages = 5_000;

function count(n: number, noun: string): string {
  return `${n.toLocaleString('en')} ${noun}${n === 1 ? '' : 's'}`;
}

function digestOfText(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}

/** Allows the page's own style and script by their digests and nothing else: no network, no form, no other script. */
function policy(): string {
  return `default-src 'none'; style-src ${digestOfText(style)}; script-src ${digestOfText(script)}; base-uri 'none'; form-action 'none'`;
}

function row(name: string, value: string | Html): Html {
  return markup`<dt>${name}</dt>
    <dd>${value}</dd>`;
}

function code(text: string): Html {
  return markup`<code>${text}</code>`;
}

function stateOf(verified: VerifyReport | undefined): Html {
  if (verified === undefined)
    return markup`<p class="state">Not verified: whoever made this report chose to leave that out</p>`;
  if (verified.ok)
    return markup`<p class="state good">
      ✓ Verified: every byte matches its digest; nothing is lost or changed
    </p>`;
  const problems = verified.problems.map(({ thing, detail, images }) => {
    const breaks =
      images.length === 0 ? '' : `; breaks ${images.map(({ reference }) => reference).join(', ')}`;
    return markup`<li><code>${thing}</code>: ${detail}${breaks}</li>`;
  });
  return markup`<p class="state bad">
      ✗ Damaged: ${count(verified.problems.length, 'problem')}. Do not import this bundle.
    </p>
    <ul>
      ${problems}
    </ul>`;
}

function platformsOf({ images }: Report): string {
  const found = new Map<string, number>();
  for (const { platforms } of images)
    for (const name of new Set(platforms.map(({ platform }) => platform)))
      found.set(name, (found.get(name) ?? 0) + 1);
  const list = [...found].sort(([a], [b]) => (a < b ? -1 : 1));
  return list.map(([name, images]) => `${name} (${count(images, 'image')})`).join(', ') || 'none';
}

const kinds: Readonly<Record<Attached['kind'], string>> = {
  signature: 'signature',
  attestation: 'attestation',
  sbom: 'SBOM',
  artifact: 'other artifact',
};

/** Counts what is attached, by kind: `1 signature`, `2 SBOMs`. */
function countAttached(attached: readonly Attached[]): string[] {
  return Object.entries(kinds).flatMap(([kind, noun]) => {
    const total = attached.filter((one) => one.kind === kind).length;
    return total === 0 ? [] : [count(total, noun)];
  });
}

function summary(report: Report): Html {
  const attached = countAttached(report.images.flatMap((image) => image.attached));
  const signed = report.images.filter((image) =>
    image.attached.some(({ kind }) => kind === 'signature'),
  ).length;
  return markup`<h2 id="summary">Summary</h2>
    <dl>
      ${row('Images', `${count(report.images.length, 'image')}, ${signed} of them with a signature`)}
      ${row('Platforms', platformsOf(report))}
      ${row('Size', `${formatBytes(report.size)} (${count(report.blobs, 'blob')}, ${report.size.toLocaleString('en')} bytes)`)}
      ${report.leftOut === 0 ? '' : row('Left out', `${count(report.leftOut, 'blob')}, ${formatBytes(report.leftOutBytes)}, which the bundle names but does not carry`)}
      ${row('Made', report.created)}
      ${row('Attached', attached.join(', ') || 'no signatures, no attestations, no SBOMs')}
      ${row('Packages', report.packages.length === 0 ? 'no SBOM lists packages' : `${count(report.packages.length, 'package')} listed by SBOMs`)}
      ${row('SHA256SUMS digest', code(report.sums ?? 'none'))}
    </dl>
    <p>
      The digest of <code>airlift/SHA256SUMS</code> covers the whole content. Compare it with the digest that
      <code>airlift export</code> printed, which must reach you by another way than the bundle. Without
      airlift:
    </p>
    <pre>tar xOf ${basename(report.bundle)} airlift/SHA256SUMS | sha256sum</pre>`;
}

function platformDetails(part: ReportedPlatform): Html {
  const labels = Object.entries(part.labels).map(([name, value]) => row(name, value));
  return markup`<dl>
    ${row(part.platform, code(part.digest))}${part.created === undefined ? '' : row('created', part.created)}${labels}
  </dl>`;
}

function attachedDetails({ kind, type, subject, statedSigner }: Attached): Html {
  const signer =
    statedSigner === undefined
      ? ''
      : markup`<br>the certificate names ${statedSigner} (not checked by this report)`;
  return row(kinds[kind], markup`${type}${signer}<br><span class="soft">for ${code(subject)}</span>`);
}

function imageRow(image: ReportedImage): Html {
  const { platforms, attached, original } = image;
  const [first] = platforms;
  const { version, licenses, source } = first === undefined ? {} : labelsOf(first);
  const filtered =
    original === undefined
      ? ''
      : row('publisher’s index', markup`${code(original)}, some platforms left out`);
  return markup`<tr>
    <th scope="row">
      <details>
        <summary>${image.reference}</summary>
        <dl>${row('digest', code(image.digest))}${filtered}</dl>
        ${platforms.map(platformDetails)}
        <dl>${attached.map(attachedDetails)}</dl>
      </details>
    </th>
    <td>${platforms.map(({ platform }) => markup`${platform}<br>`)}</td>
    <td class="number">${formatBytes(image.size)}</td>
    <td class="line">${first?.created?.slice(0, 10) ?? ''}</td>
    <td>${version ?? ''}</td>
    <td>${licenses ?? ''}</td>
    <td>${source ?? ''}</td>
    <td class="line">${countAttached(attached).map((text) => markup`${text}<br>`)}</td>
  </tr> `;
}

function filter(table: string, label: string): Html {
  return markup`<div class="filter" hidden>
    <label>${label} <input type="search" data-filters="${table}" autocomplete="off"></label>
    <p class="soft" role="status" id="${table}-status"></p>
  </div>`;
}

interface Column {
  readonly name: string;
  readonly isNumber?: boolean;
}

/** Yields a heading, a box that filters the rows, and a table. */
function* tableSection(
  text: { readonly heading: Html; readonly table: string; readonly caption: string },
  columns: readonly Column[],
  rows: Iterable<Html>,
): Iterable<Html> {
  const { heading, table, caption } = text;
  const heads = columns.map(({ name, isNumber = false }) =>
    isNumber ? markup`<th scope="col" class="number">${name}</th>` : markup`<th scope="col">${name}</th>`,
  );
  yield markup`${heading}
    ${filter(table, `Show ${table} that contain`)}
    <div class="wide" tabindex="0" role="region" aria-label="Table of ${table}">
      <table id="${table}">
        <caption>${caption}</caption>
        <thead>
          <tr>${heads}</tr>
        </thead>
        <tbody>
`;
  yield* rows;
  yield markup`</tbody></table></div>`;
}

/** Yields rows one by one: the page of many images is not held whole. */
function* rowsOf(images: readonly ReportedImage[]): Iterable<Html> {
  for (const image of images) yield imageRow(image);
}

function imagesSection({ images }: Report): Iterable<Html> {
  const text = {
    heading: markup`<h2 id="contents">Images</h2>`,
    table: 'images',
    caption:
      'Versions, licences and sources are labels that the publishers wrote. Open an image for its digests, labels and what is attached.',
  };
  const columns = [
    { name: 'Image' },
    { name: 'Platforms' },
    { name: 'Size', isNumber: true },
    { name: 'Created' },
    { name: 'Version' },
    { name: 'Licence' },
    { name: 'Source' },
    { name: 'Attached' },
  ];
  return tableSection(text, columns, rowsOf(images));
}

function packageRow({ name, version, licenses, images, references }: ReportedPackage): Html {
  const others =
    images > references.length ? markup`<br>and ${count(images - references.length, 'more image')}` : '';
  const list = references.map((reference) => markup`${reference}<br>`);
  return markup`<tr><th scope="row">${name}</th><td>${version}</td><td>${licenses}</td><td class="number"><details><summary>${images}</summary>${list}${others}</details></td></tr>
`;
}

function packagesSection({ packages }: Report): Iterable<Html> {
  if (packages.length === 0) return [];
  const more =
    packages.length > maxPackages
      ? ` The first ${maxPackages.toLocaleString('en')} of ${packages.length.toLocaleString('en')}; the report in JSON lists all.`
      : '';
  const text = {
    heading: markup`<h2 id="packages-heading">Packages</h2>`,
    table: 'packages',
    caption: `From the SPDX and CycloneDX documents that are attached to images.${more}`,
  };
  const columns = [
    { name: 'Package' },
    { name: 'Version' },
    { name: 'Licence' },
    { name: 'Images', isNumber: true },
  ];
  return tableSection(text, columns, packages.slice(0, maxPackages).map(packageRow));
}

function notesSection({ notes }: Report): Html {
  if (notes.length === 0) return markup``;
  return markup`<h2 id="notes">What could not be read</h2>
    <ul>
      ${notes.map((note) => markup`<li>${note}</li>`)}
    </ul>`;
}

function peopleSection(): Html {
  const line = markup`<tr>
    <td></td>
    <td></td>
    <td></td>
    <td></td>
  </tr>`;
  return markup`<h2 id="approval">Approval</h2>
    <table class="people">
      <caption>
        For the people who pass this bundle on.
      </caption>
      <thead>
        <tr>
          <th scope="col">Role</th>
          <th scope="col">Name</th>
          <th scope="col">Date</th>
          <th scope="col">Signature</th>
        </tr>
      </thead>
      <tbody>
        ${[line, line, line]}
      </tbody>
    </table>`;
}

export interface PageOptions {
  /** The result of verifying the bundle; undefined if it was not verified. */
  readonly verified?: VerifyReport | undefined;
  /** Version of airlift. */
  readonly version: string;
}

/** Yields a report as one HTML page that needs nothing else: no network, no file, no script to be complete. */
export function* formatHtml(report: Report, { verified, version }: PageOptions): Iterable<string> {
  const name = basename(report.bundle);
  yield markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${new Html(policy())}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>${name}: contents</title>
<style>${new Html(style)}</style></head>
<body>
<a class="skip" href="#contents">Skip to the images</a>
<main>
<h1>${name}</h1>
${stateOf(verified)}
${summary(report)}
${sizeSection(report)}
`.text;
  for (const part of imagesSection(report)) yield part.text;
  for (const part of packagesSection(report)) yield part.text;
  yield markup`${notesSection(report)}${peopleSection()}
<p class="soft">Made by airlift ${version}. <code>airlift inspect</code>, <code>airlift verify</code> and <code>airlift report --format json</code> give the same facts.</p></main>
<script>${new Html(script)}</script></body></html>
`.text;
}
