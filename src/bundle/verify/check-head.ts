import { AirliftError, isAirliftError, messageOf } from '../../errors.js';
import { parseJsonObject } from '../../oci/manifest.js';
import { Catalog } from '../format/catalog.js';
import type { EntryReader, TarEntry } from '../format/entry-reader.js';
import { kindOfEntry, type Findings } from './findings.js';
import { entryNames, headLimits } from '../format/format.js';
import { digestOfPath } from '../../oci/image-layout.js';
import { readHead, type Head } from '../format/head.js';
import { walkTar } from '../format/tar-walk.js';
import { headerLength } from '../../tar/header.js';

/** Bytes to search for the next entry after damage in the head. */
const searchLimit = 64 * 1024 * 1024;

/** The head of a bundle that may be damaged. */
export interface CheckedHead extends Head {
  /** Undefined if it cannot be trusted: then the bundle is checked by the entries of the archive. */
  readonly catalog: Catalog | undefined;
}

/**
 * Reads the head, skips damage, and opens the catalog if it is intact.
 * @throws AirliftError `input` if the file is not a bundle, `unsupported` if a newer airlift wrote it, `io`
 */
export async function checkHead(reader: EntryReader, findings: Findings): Promise<CheckedHead> {
  let head: DamagedHead;
  try {
    head = await readHead(reader.file);
  } catch (error) {
    if (!isAirliftError(error, 'damaged')) throw error;
    head = await readDamagedHead(reader, error);
  }
  for (const name of [entryNames.layout, entryNames.index, entryNames.catalog, entryNames.sha256sums]) {
    if (!head.entries.has(name)) findings.report(kindOfEntry(name), name, 'missing');
  }
  await checkLayoutFile(reader, head.entries.get(entryNames.layout), findings);
  const catalog = await openCatalog(reader, head, findings);
  const start = catalog === undefined ? head.start : startFromBlob(catalog, head);
  // Damage behind `start` is reported with the blobs it affects, when they are checked against the catalog.
  for (const { position, happened } of head.damages ?? [])
    if (position < start) findings.report('header', `byte ${position}`, happened);
  return { entries: head.entries, start, catalog };
}

interface DamagedHead extends Head {
  readonly firstBlob?: TarEntry | undefined;
  readonly damages?: readonly { readonly position: number; readonly happened: string }[];
}

async function readDamagedHead(reader: EntryReader, error: AirliftError): Promise<DamagedHead> {
  const entries = new Map<string, TarEntry>();
  const damages: { position: number; happened: string }[] = [];
  let start = 0;
  let firstBlob: TarEntry | undefined;
  for await (const step of walkTar(reader, 0, searchLimit)) {
    if (step.kind === 'entry') {
      const { entry } = step;
      if (entry.name.startsWith('blobs/')) firstBlob = entry;
      if (firstBlob !== undefined || entries.size >= headLimits.entries) break;
      if (entries.has(entry.name))
        damages.push({ position: entry.position, happened: `a second entry named ${entry.name}` });
      entries.set(entry.name, entry);
      start = entry.end;
      continue;
    }
    const happened = { damaged: 'not a tar header', end: 'the archive ends', cut: 'the file ends' }[
      step.kind
    ];
    damages.push({ position: step.position, happened: `${happened} where an entry is expected` });
  }
  if (entries.size === 0 && firstBlob === undefined)
    throw new AirliftError('input', error.message, { cause: error });
  return { entries, start: firstBlob?.position ?? start, firstBlob, damages };
}

/** Computes the position from which offsets count, by the first intact blob: the header of the very first blob may be damaged. */
function startFromBlob(catalog: Catalog, head: DamagedHead): number {
  const digest = head.firstBlob === undefined ? undefined : digestOfPath(head.firstBlob.name);
  const offset = digest === undefined ? undefined : catalog.blob(digest)?.offset;
  if (head.firstBlob === undefined || offset === undefined) return head.start;
  return head.firstBlob.position - (offset - headerLength(head.firstBlob.name));
}

async function openCatalog(
  reader: EntryReader,
  head: Head,
  findings: Findings,
): Promise<Catalog | undefined> {
  if (!head.entries.has(entryNames.catalog) || !head.entries.has(entryNames.sha256sums)) return undefined;
  try {
    return await Catalog.open(reader.file, head);
  } catch (error) {
    if (!isAirliftError(error, 'damaged')) throw error;
    findings.report('catalog', entryNames.catalog, error.message.replace(/^.*?: /, ''));
    return undefined;
  }
}

async function checkLayoutFile(
  reader: EntryReader,
  entry: TarEntry | undefined,
  findings: Findings,
): Promise<void> {
  if (entry === undefined) return;
  try {
    const bytes = await reader.read(entry.contentPosition, Math.min(entry.size, headLimits.layout));
    const version = parseJsonObject(bytes, entryNames.layout)['imageLayoutVersion'];
    if (version === '1.0.0') return;
    findings.report(
      'layout',
      entryNames.layout,
      `unknown version; got ${JSON.stringify(version)}, want "1.0.0"`,
    );
  } catch (error) {
    findings.report('layout', entryNames.layout, messageOf(error));
  }
}
