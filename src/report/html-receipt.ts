import { basename } from 'node:path';
import { markup, type Html } from './html-text.js';
import { code, count, cutNote, listSection, page, row, tableSection } from './page.js';
import type { ReceiptReport, ReportedEntry } from './receipt-report.js';
import { signatureSection } from './signature-section.js';
import { sinceSection } from './since-section.js';

/** Maximum number of lines on the page; the other formats list all. */
const maxEntries = 20_000;

const titles = { receipt: 'Receipt of a registry', sent: 'Record of what was sent' } as const;

/** Names what an entry is for people. */
function contentOf(content: string): string {
  switch (content) {
    case 'index':
      return 'image index';
    case 'layer':
      return 'layer';
    case 'manifest':
      return 'other manifest';
    default:
      return content;
  }
}

function* entryRows(entries: readonly ReportedEntry[], isCompared: boolean): Iterable<Html> {
  for (const { repository, tag, digest, content, change } of entries.slice(0, maxEntries)) {
    const cell =
      change === undefined || change === 'unchanged'
        ? markup`<td class="soft">${change ?? ''}</td>`
        : markup`<td><strong>${change}</strong></td>`;
    yield markup`<tr><th scope="row">${repository}</th><td class="text">${tag ?? ''}</td><td>${contentOf(content)}</td>${isCompared ? cell : ''}<td>${code(digest)}</td></tr>
`;
  }
}

function* bodyOf(report: ReceiptReport): Iterable<Html> {
  const {
    kind,
    receipt,
    registry,
    time,
    writtenBy,
    digest,
    repositories,
    images,
    companions,
    entries,
    since,
  } = report;
  yield markup`<p class="state">${titles[kind]}${registry === undefined ? '' : ` ${registry}`}, as of ${time}. It is a list, not the images.</p>
    <h2 id="summary">Summary</h2>
    <dl>
      ${registry === undefined ? '' : row('Registry', registry)}
      ${row('Time', time)}
      ${row('Written by', `airlift ${writtenBy}`)}
      ${row('Repositories', `${repositories.toLocaleString('en')} ${repositories === 1 ? 'repository' : 'repositories'}`)}
      ${row('Images', count(images, 'tag'))}
      ${companions === 0 ? '' : row('Attached', `${count(companions, 'tag')} for signatures, attestations and SBOMs`)}
      ${row('Lines', count(entries.length, 'line'))}
      ${row('Digest of the file', code(digest))}
    </dl>
    <pre>sha256sum ${basename(receipt)}</pre>
    ${signatureSection(report.signedBy, kind === 'receipt' ? 'receipt' : 'record')}
    ${listSection('What this list does not say', report.notes)}`;
  yield* sinceSection(since);
  const isCompared = since !== undefined;
  const columns = [
    { name: 'Repository' },
    { name: 'Tag' },
    { name: 'What it is' },
    ...(isCompared ? [{ name: 'New' }] : []),
    { name: 'Digest' },
  ];
  yield* tableSection(
    {
      heading: 'Contents',
      table: 'contents',
      rows: 'rows',
      caption: `One row for each tag, and for each manifest or layer that is listed by its digest alone. Other manifests have no platform, such as signatures and SBOMs.${cutNote(entries.length, maxEntries)}`,
    },
    columns,
    entryRows(entries, isCompared),
  );
}

/** Yields the report on a receipt as one HTML page. */
export function formatReceiptHtml(
  report: ReceiptReport,
  { version }: { readonly version: string },
): Iterable<string> {
  const commands = markup`The text of the file and <code>airlift report --format json</code>`;
  const what = report.kind === 'receipt' ? 'receipt' : 'record';
  const text = { name: basename(report.receipt), what, contents: 'contents', version, commands };
  return page(text, bodyOf(report));
}
