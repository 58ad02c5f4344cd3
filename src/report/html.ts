import { basename } from 'node:path';
import type { Problem } from '../bundle/report.js';
import type { VerifyReport } from '../verify.js';
import { formatBytes } from '../oci/bytes.js';
import { markup, type Html } from './html-text.js';
import { labelsOf } from './labels.js';
import { code, count, cutNote, listSection, page, row, sectionLinks, tableSection } from './page.js';
import { signatureSection } from './signature-section.js';
import { signersOf } from './signers.js';
import { deltaSection, sinceSection } from './since-section.js';
import { sizeSection } from './size-section.js';
import type { Attached } from './attached.js';
import type { ReportedPackage } from './packages.js';
import type { Report, ReportedImage, ReportedPlatform } from './report.js';

/** Maximum number of packages on the page; the other formats list all. */
const maxPackages = 5_000;

function problemItem({ kind, thing, detail, images }: Problem): Html {
  // The problem of a signature names the image that lacks it.
  const breaks =
    images.length === 0 || kind === 'signature'
      ? ''
      : `; breaks ${images.map(({ reference }) => reference).join(', ')}`;
  return markup`<li><code>${thing}</code>: ${detail}${breaks}</li>`;
}

/** Says what verification found, before everything else on the page. */
function stateOf(verified: VerifyReport | undefined): Html {
  if (verified === undefined)
    return markup`<p class="state">Not verified: whoever made this report chose to leave that out</p>`;
  const { problems, bases, delta } = verified;
  const brokenBases = bases.filter(({ ok }) => !ok);
  const list = [...problems, ...brokenBases.flatMap((base) => base.problems)].map(problemItem);
  if (verified.ok) {
    const unseen = delta?.unseenBlobs ?? 0;
    const limit =
      unseen === 0 ? '' : `. What the delta leaves out (${count(unseen, 'blob')}) could not be verified`;
    return markup`<p class="state good">
      ✓ Verified: every byte matches its digest; nothing is lost or changed${limit}
    </p>`;
  }
  if (problems.length === 0)
    return markup`<p class="state bad">✗ This bundle is whole, but a base of it is damaged.</p>
      <ul>${list}</ul>`;
  const isWhole = problems.every(({ kind }) => kind === 'signature');
  const verdict = isWhole
    ? '✗ Refused: nothing is lost or changed, but a required signature is missing. Do not import this bundle.'
    : `✗ Damaged: ${count(problems.length, 'problem')}. Do not import this bundle.`;
  return markup`<p class="state bad">${verdict}</p>
    <ul>
      ${list}
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

/** Counts the images with signatures, by what is known about them. */
function signedImages({ images }: Report): string {
  const signed = images.filter(({ attached }) => attached.some(({ kind }) => kind === 'signature'));
  if (signed.length === 0) return 'no image has a signature';
  const valid = signed.filter((image) => signersOf(image).length > 0).length;
  const isChecked = signed.some(({ attached }) =>
    attached.some(({ kind, signature }) => kind === 'signature' && signature?.state !== 'unchecked'),
  );
  const all = images.length.toLocaleString('en');
  return isChecked
    ? `${valid.toLocaleString('en')} of ${all} signed by a given key; ${signed.length.toLocaleString('en')} with a signature`
    : `${signed.length.toLocaleString('en')} of ${all} with a signature, not checked`;
}

function summary(report: Report): Html {
  const attached = countAttached(report.images.flatMap((image) => image.attached));
  return markup`<h2 id="summary">Summary</h2>
    <dl>
      ${row('Images', count(report.images.length, 'image'))}
      ${row('Signed images', signedImages(report))}
      ${row('Platforms', platformsOf(report))}
      ${row('Size', `${formatBytes(report.size)} (${count(report.blobs, 'blob')}, ${report.size.toLocaleString('en')} bytes)`)}
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

function volumesRow({ volumes }: Report): Html {
  if (volumes.length === 0) return markup``;
  const list = volumes.map(
    ({ name, size, digest }) =>
      markup`<li>${name}, ${formatBytes(size)}${digest === undefined ? '' : markup` ${code(digest)}`}</li>`,
  );
  return row(
    'Volumes',
    markup`<details><summary>${count(volumes.length, 'file')}, which together are this bundle</summary><ul>${list}</ul></details>`,
  );
}

/** Counts images by the registry in their names. */
function registriesOf({ images }: Report): string {
  const counts = new Map<string, number>();
  for (const { reference } of images) {
    const registry = reference.slice(0, reference.indexOf('/'));
    counts.set(registry, (counts.get(registry) ?? 0) + 1);
  }
  const most = [...counts].sort(([, a], [, b]) => b - a);
  const shown = most.slice(0, 20).map(([registry, images]) => `${registry} (${count(images, 'image')})`);
  return `${shown.join(', ') || 'none'}${most.length > 20 ? ` and ${most.length - 20} more` : ''}`;
}

/** Says what the bundle itself tells about how it was made. */
function originSection(report: Report): Html {
  const { images, delta, leftOut, leftOutBytes } = report;
  const cut = images.filter(({ original }) => original !== undefined).length;
  const what =
    delta === undefined
      ? 'carries everything but what is named here'
      : 'a delta: layers that the site has are left out';
  return markup`<h2 id="origin">How it was made</h2>
    <dl>
      ${row('Made', report.created)}
      ${row('From', registriesOf(report))}
      ${row('Kind', delta === undefined && leftOut === 0 ? 'carries everything that its images need' : what)}
      ${leftOut === 0 ? '' : row('Left out', `${count(leftOut, 'blob')}, ${formatBytes(leftOutBytes)}, which the bundle names but does not carry`)}
      ${row('Platforms', cut === 0 ? 'no platform of any image is left out' : `${count(cut, 'image')} with only some of the publisher’s platforms`)}
      ${volumesRow(report)}
    </dl>`;
}

function platformDetails(part: ReportedPlatform): Html {
  const labels = Object.entries(part.labels).map(([name, value]) => row(name, value));
  return markup`<dl>
    ${row(part.platform, code(part.digest))}${part.created === undefined ? '' : row('created', part.created)}${labels}
  </dl>`;
}

/** Says by which key attached content is signed. */
function signerOf({ signature, statedSigner }: Attached): Html {
  const claim =
    statedSigner === undefined
      ? ''
      : markup`<br>the certificate names ${statedSigner} <span class="soft">(claimed, not checked)</span>`;
  switch (signature?.state) {
    case undefined:
      return markup`<br><span class="soft">not signed by itself</span>${claim}`;
    case 'valid':
      return markup`<br><span class="good">✓ signed by key ${signature.keyFile ?? ''}</span> ${code(signature.keyId ?? '')}${claim}`;
    case 'other-key':
      return markup`<br><span class="bad">✗ none of the given keys signed it about this manifest</span>${claim}`;
    case 'unchecked':
      return markup`<br><span class="soft">signature not checked</span>${claim}`;
  }
}

function attachedDetails(attached: Attached): Html {
  const { kind, type, subject } = attached;
  return row(
    kinds[kind],
    markup`${type}${signerOf(attached)}<br><span class="soft">for ${code(subject)}</span>`,
  );
}

/** Formats what is new of an image; nothing if the bundle is not compared with a base. */
function newCell({ change, newBytes = 0 }: ReportedImage): Html {
  if (change === undefined) return markup``;
  return change === 'unchanged'
    ? markup`<td class="number soft">unchanged</td>`
    : markup`<td class="number"><strong>${change}</strong><br>${formatBytes(newBytes)}</td>`;
}

function imageRow(image: ReportedImage): Html {
  const { platforms, attached, original } = image;
  const [first] = platforms;
  const { version, licenses, source } = first === undefined ? {} : labelsOf(first);
  const filtered =
    original === undefined
      ? ''
      : markup`<dl>${row('publisher’s index', markup`${code(original)}, some platforms left out`)}</dl>`;
  return markup`<tr>
    <th scope="row">
      <details>
        <summary>${image.reference}</summary>
        ${filtered}
        ${platforms.map(platformDetails)}
        <dl>${attached.map(attachedDetails)}</dl>
      </details>
      ${code(image.digest)}
    </th>
    <td>${platforms.map(({ platform }) => markup`${platform}<br>`)}</td>
    <td class="number">${formatBytes(image.size)}</td>
    ${newCell(image)}
    <td class="line">${first?.created?.slice(0, 10) ?? ''}</td>
    <td>${version ?? ''}</td>
    <td>${licenses ?? ''}</td>
    <td class="source">${source ?? ''}</td>
    <td class="line">${countAttached(attached).map((text) => markup`${text}<br>`)}</td>
  </tr> `;
}

/** Yields rows one by one: the page of many images is not held whole. */
function* rowsOf(images: readonly ReportedImage[]): Iterable<Html> {
  for (const image of images) yield imageRow(image);
}

function imagesSection({ images, since }: Report): Iterable<Html> {
  const text = {
    heading: 'Images',
    table: 'images',
    caption:
      'Versions, licences and sources are labels that the publishers wrote. Open an image for its digests, labels and what is attached.',
  };
  const columns = [
    { name: 'Image' },
    { name: 'Platforms' },
    { name: 'Size', isNumber: true },
    ...(since === undefined ? [] : [{ name: 'New', isNumber: true }]),
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
  const text = {
    heading: 'Packages',
    table: 'packages',
    caption: `From the SPDX and CycloneDX documents that are attached to images.${cutNote(packages.length, maxPackages)}`,
  };
  const columns = [
    { name: 'Package' },
    { name: 'Version' },
    { name: 'Licence' },
    { name: 'Images', isNumber: true },
  ];
  return tableSection(text, columns, packages.slice(0, maxPackages).map(packageRow));
}

export interface PageOptions {
  /** The result of verifying the bundle; undefined if it was not verified. */
  readonly verified?: VerifyReport | undefined;
  /** Version of airlift. */
  readonly version: string;
}

function links({ since, delta, packages }: Report): Html {
  return sectionLinks([
    ['signatures', 'Signatures'],
    ['origin', 'How it was made'],
    ...(since === undefined ? [] : [['changes', 'What is new'] as const]),
    ...(delta === undefined ? [] : [['left-out', 'What is left out'] as const]),
    ['sizes', 'Where the bytes are'],
    ['images', 'Images'],
    ...(packages.length === 0 ? [] : [['packages', 'Packages'] as const]),
    ['approval', 'Approval'],
  ]);
}

function* bodyOf(report: Report, verified: VerifyReport | undefined): Iterable<Html> {
  yield markup`${stateOf(verified)}
${summary(report)}
${links(report)}
${signatureSection(report.signedBy, 'bundle')}
`;
  yield originSection(report);
  yield* sinceSection(report.since);
  yield* deltaSection(report.delta);
  yield sizeSection(report);
  yield* imagesSection(report);
  yield* packagesSection(report);
  yield listSection('What could not be read', report.notes);
}

/** Yields the report on a bundle as one HTML page that needs nothing else: no network, no file, no script to be complete. */
export function formatHtml(report: Report, { verified, version }: PageOptions): Iterable<string> {
  const commands = markup`<code>airlift inspect</code>, <code>airlift verify</code> and <code>airlift report --format json</code>`;
  const text = { name: basename(report.bundle), what: 'bundle', contents: 'images', version, commands };
  return page(text, bodyOf(report, verified));
}
