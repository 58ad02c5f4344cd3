import { basename } from 'node:path';
import type { DeltaBase } from '../bundle/format/delta.js';
import type { DiffSide, ImageChange } from '../diff.js';
import { formatBytes } from '../oci/bytes.js';
import { markup, type Html } from './html-text.js';
import { code, count, cutNote, row, tableSection } from './page.js';
import type { LeftOutBlob, ReportedDelta, ReportedSince } from './since.js';

/** Maximum number of changes, and of blobs that a delta leaves out, on the page; the report in JSON lists all. */
const maxRows = 5_000;

const kinds: Readonly<Record<DeltaBase['kind'], string>> = {
  bundle: 'bundle',
  receipt: 'receipt of a registry',
  sent: 'record of what was sent',
};

function describeSide({ path, kind, registry, time, images }: DiffSide): Html {
  const of = registry === undefined ? '' : ` of ${registry}`;
  return markup`${basename(path)}: ${kinds[kind]}${of}, ${time}, ${count(images, 'name')}<br>`;
}

function changeRow({ change, image, from, to, newBytes }: ImageChange, hasBytes: boolean): Html {
  const digests = [from, to].map((digest) =>
    digest === undefined ? markup`<td></td>` : markup`<td>${code(digest)}</td>`,
  );
  const bytes = newBytes === undefined ? '' : formatBytes(newBytes);
  const last = hasBytes ? markup`<td class="number">${bytes}</td>` : '';
  return markup`<tr><th scope="row">${image}</th><td>${changeNames[change]}</td>${digests}${last}</tr>
`;
}

/** Names a change for people. A base need not list everything that a site has, so that `removed` says too much. */
const changeNames = {
  added: 'added',
  moved: 'moved',
  removed: 'only in the base',
  unchanged: 'unchanged',
} as const;

/** Yields what is new since the given bases. */
export function* sinceSection(since: ReportedSince | undefined): Iterable<Html> {
  if (since === undefined) return;
  const { from, changes, unchanged, newBlobs, isUpperBound, companions } = since;
  const of = (kind: ImageChange['change']): string =>
    count(changes.filter(({ change }) => change === kind).length, 'image');
  const facts = markup`<dl>
    ${row('Compared with', markup`${from.map(describeSide)}`)}
    ${row('Added', of('added'))}
    ${row('Moved', `${of('moved')}: the tag names another digest`)}
    ${row('Only in the base', of('removed'))}
    ${row('Unchanged', count(unchanged, 'name'))}
    ${companions === 0 ? '' : row('Attached', `${count(companions, 'change')} of signatures, attestations and SBOMs under tags`)}
    ${newBlobs === undefined ? '' : row('New blobs', `${isUpperBound ? 'at most ' : ''}${count(newBlobs.blobs, 'blob')}, ${formatBytes(newBlobs.bytes)}${isUpperBound ? ': the receipt does not name the layers of all images' : ''}`)}
  </dl>`;
  const names = from.map(({ path }) => basename(path));
  const heading = `What is new since ${names.length > 3 ? `${names.slice(0, 3).join(', ')}, …` : names.join(', ')}`;
  if (changes.length === 0) {
    yield markup`<h2 id="changes">${heading}</h2>${facts}<p>No image was added, removed or moved.</p>`;
    return;
  }
  yield* tableSection(
    {
      heading,
      table: 'changes',
      caption: `Images that differ.${newBlobs === undefined ? '' : ' New bytes are those that no base has; several images may share them.'}${cutNote(changes.length, maxRows)}`,
      before: facts,
    },
    [
      { name: 'Image' },
      { name: 'Change' },
      { name: 'Before' },
      { name: 'Now' },
      ...(newBlobs === undefined ? [] : [{ name: 'New bytes', isNumber: true }]),
    ],
    changes.slice(0, maxRows).map((change) => changeRow(change, newBlobs !== undefined)),
  );
}

function leftOutRow({ digest, size, images, base }: LeftOutBlob, isCompared: boolean): Html {
  const where = !isCompared ? '' : base === undefined ? 'no given base has it' : basename(base);
  const list = images.map((image) => markup`${image}<br>`);
  const found = isCompared ? markup`<td>${where}</td>` : markup``;
  return markup`<tr><th scope="row">${code(digest)}</th><td class="number">${formatBytes(size)}</td><td>${list}</td>${found}</tr>
`;
}

/** Yields the blobs that a delta leaves out. */
export function* deltaSection(delta: ReportedDelta | undefined): Iterable<Html> {
  if (delta === undefined) return;
  const { bases, blobs, bytes, leftOut, isCompared } = delta;
  const madeAgainst = bases.map(
    ({ kind, registry, time, digest }) =>
      markup`${kinds[kind]}${registry === undefined ? '' : ` of ${registry}`}, ${time}<br>${code(digest)}<br>`,
  );
  const lost = isCompared ? leftOut.filter(({ base }) => base === undefined).length : 0;
  const proof = !isCompared
    ? 'Not compared with a base: only the base itself, or the site’s registry, can prove that it has them.'
    : lost === 0
      ? 'The given bases have all of them.'
      : `The given bases do not have ${count(lost, 'of them')}: import looks for each in the registry before it pushes anything.`;
  const before = markup`<p>This bundle is a delta: it is complete only together with what the site has. It leaves out ${count(blobs, 'blob')}
    of ${formatBytes(bytes)}. ${proof}</p>
    <dl>${row('Made against', markup`${madeAgainst}`)}</dl>`;
  yield* tableSection(
    {
      heading: 'What this delta leaves out',
      table: 'left-out',
      rows: 'blobs',
      caption: `Blobs that are not in this file.${cutNote(blobs, maxRows)}`,
      before,
    },
    [
      { name: 'Blob' },
      { name: 'Size', isNumber: true },
      { name: 'Images that need it' },
      ...(isCompared ? [{ name: 'Found in' }] : []),
    ],
    leftOut.slice(0, maxRows).map((blob) => leftOutRow(blob, isCompared)),
  );
}
