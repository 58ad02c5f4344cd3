import type { BundleReader } from '../bundle/reader.js';
import { AirliftError } from '../errors.js';
import { isObject, type Descriptor } from '../oci/descriptor.js';
import { Verifier } from '../oci/digest.js';
import { listLimits, parseJson } from '../oci/json.js';

/** A package that SBOMs in the bundle list; plain data. */
export interface ReportedPackage {
  readonly name: string;
  readonly version: string;
  /** SPDX expressions or names of licences, as the SBOM states them. */
  readonly licenses: string;
  /** The package URL, if the SBOM has one. */
  readonly purl?: string | undefined;
  /** Number of images whose SBOMs list it. */
  readonly images: number;
  /** The first images that contain it, at most 20. */
  readonly references: readonly string[];
}

/** Maximum number of different packages in a report. */
const maxPackages = 200_000;
const maxReferences = 20;
const maxNesting = 20;

type Listed = Pick<ReportedPackage, 'name' | 'version' | 'licenses' | 'purl'>;

function textOf(value: unknown): string {
  return typeof value === 'string' && value !== 'NOASSERTION' && value !== 'NONE' ? value.slice(0, 1000) : '';
}

function objectsIn(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

/** Lists the packages of an SPDX document (SPDX 2.3, clause 7; SPDX 3.0, Software profile). */
function* packagesOfSpdx(json: Record<string, unknown>): Iterable<Listed> {
  for (const item of objectsIn(json['packages'])) {
    const reference = objectsIn(item['externalRefs']).find((one) => one['referenceType'] === 'purl');
    yield {
      name: textOf(item['name']),
      version: textOf(item['versionInfo']),
      licenses: textOf(item['licenseConcluded']) || textOf(item['licenseDeclared']),
      purl: textOf(reference?.['referenceLocator']) || undefined,
    };
  }
  for (const item of objectsIn(json['@graph'])) {
    if (item['type'] !== 'software_Package') continue;
    yield {
      name: textOf(item['name']),
      version: textOf(item['software_packageVersion']),
      licenses: '',
      purl: textOf(item['software_packageUrl']) || undefined,
    };
  }
}

/** Lists the components of a CycloneDX document and the components within them (CycloneDX 1.6, `components`). */
function* packagesOfCycloneDx(components: unknown, depth = 0): Iterable<Listed> {
  for (const item of objectsIn(components)) {
    const group = textOf(item['group']);
    const licenses = objectsIn(item['licenses']).map((one) => {
      const license = isObject(one['license']) ? one['license'] : {};
      return textOf(one['expression']) || textOf(license['id']) || textOf(license['name']);
    });
    const isFile = item['type'] === 'file';
    if (!isFile) {
      yield {
        name: group === '' ? textOf(item['name']) : `${group}/${textOf(item['name'])}`,
        version: textOf(item['version']),
        licenses: licenses.filter((one) => one !== '').join(' AND '),
        purl: textOf(item['purl']) || undefined,
      };
    }
    if (depth < maxNesting) yield* packagesOfCycloneDx(item['components'], depth + 1);
  }
}

/** Returns the SBOM inside an in-toto statement or a DSSE envelope, or the document itself. */
function sbomIn(document: unknown, what: string): Record<string, unknown> {
  if (!isObject(document)) return {};
  const envelope = isObject(document['dsseEnvelope']) ? document['dsseEnvelope'] : document;
  if (typeof envelope['payload'] === 'string') {
    const payload = Buffer.from(envelope['payload'], 'base64');
    const statement = parseJson(payload, what, listLimits);
    return isObject(statement) && isObject(statement['predicate']) ? statement['predicate'] : {};
  }
  return isObject(document['predicate']) ? document['predicate'] : document;
}

/**
 * Reads an attestation or SBOM, and verifies its digest.
 * @throws AirliftError `input` if it is too large, `not-found`, `digest-mismatch`, `io`
 */
export async function readAttached(reader: BundleReader, blob: Descriptor, what: string): Promise<Buffer> {
  if (blob.size > listLimits.bytes)
    throw new AirliftError(
      'input',
      `read ${what}: too large; got ${blob.size} bytes, want at most ${listLimits.bytes}`,
    );
  const found = await reader.find(blob);
  if (found === undefined) throw new AirliftError('not-found', `read ${what}: the bundle does not carry it`);
  const bytes = await found.read(0, blob.size);
  const verifier = new Verifier(blob.digest, blob.size);
  verifier.update(bytes);
  verifier.end();
  return bytes;
}

/** Collects the packages of all SBOMs, each package once. */
export class Packages {
  readonly #found = new Map<string, Listed & { count: number; readonly references: string[] }>();
  #isFull = false;

  /** True if the bundle lists more packages than a report can hold. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /**
   * Adds the packages that an SBOM of an image lists.
   * @throws AirliftError `input` if it is not JSON or exceeds a limit, `digest-mismatch`, `not-found`, `io`
   */
  async add(reader: BundleReader, sbom: Descriptor, reference: string): Promise<void> {
    const what = `SBOM ${sbom.digest}`;
    const document = sbomIn(parseJson(await readAttached(reader, sbom, what), what, listLimits), what);
    const listed =
      'components' in document ? packagesOfCycloneDx(document['components']) : packagesOfSpdx(document);
    for (const item of listed) if (item.name !== '') this.#count(item, reference);
  }

  #count(item: Listed, reference: string): void {
    const key = item.purl ?? `${item.name}\0${item.version}`;
    const known = this.#found.get(key);
    if (known === undefined) {
      if (this.#found.size >= maxPackages) this.#isFull = true;
      else this.#found.set(key, { ...item, count: 1, references: [reference] });
      return;
    }
    // An image may have several SBOMs: images arrive one after another, so the last reference tells.
    if (known.references.at(-1) === reference) return;
    known.count++;
    if (known.references.length < maxReferences) known.references.push(reference);
  }

  /** Lists the packages, sorted by name and version. */
  list(): ReportedPackage[] {
    const order = new Intl.Collator('en', { numeric: true });
    return [...this.#found.values()]
      .map(({ count, ...item }) => ({ ...item, images: count }))
      .sort((one, other) => order.compare(one.name, other.name) || order.compare(one.version, other.version));
  }
}
