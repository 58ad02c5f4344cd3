import { isAirliftError } from '../../errors.js';
import type { Descriptor } from '../../oci/descriptor.js';
import { algorithmOf, hexOf, isDigest, type Digest } from '../../oci/digest.js';
import { refuseMore } from '../../oci/manifest.js';
import { isIndex } from '../../oci/media-types.js';
import { formatReference, parseReference } from '../../oci/reference.js';
import { BlobView, entryOf, type LayoutView } from './blob-view.js';
import type { PlacedRange } from '../../io/byte-range.js';
import { maxListed } from './docker-archive.js';
import { readMember, type Members } from './members.js';

/** The most bytes of a link file, which contains a digest. */
const maxLink = 256;

const hint =
  'an oc-mirror archive holds only the changes since the previous one: upload it with oc-mirror --v2 --from file://FOLDER docker://SITE';

async function linkOf(members: Members, path: string): Promise<Digest | undefined> {
  const text = (await readMember(members, path, maxLink))?.toString('latin1').trim();
  return text !== undefined && isDigest(text) ? text : undefined;
}

/**
 * Reports whether a tag only lists referrers (distribution-spec, "Referrers Tag Schema"), which are found by their subject. oc-mirror
 * gives such a tag also to images that were requested by digest; it then points to the image itself.
 */
async function isReferrersTag(
  tag: string,
  digest: Digest,
  content: (digest: Digest) => Promise<PlacedRange | undefined>,
): Promise<boolean> {
  const hex = /^sha256-([0-9a-f]{64})$/.exec(tag)?.[1];
  if (hex === undefined || digest === `sha256:${hex}`) return false;
  const found = await content(digest);
  if (found === undefined) return false;
  return isIndex((await entryOf(found, undefined, `manifest ${digest}`)).entry.mediaType);
}

function nameOf(repository: string, tag: string, warn: (text: string) => void): string | undefined {
  try {
    return formatReference(parseReference(`${repository}:${tag}`));
  } catch (error) {
    if (!isAirliftError(error, 'usage')) throw error;
    warn(`skipped ${repository}:${tag}: ${error.message}`);
    return undefined;
  }
}

/**
 * Views the storage of a registry, which archives of oc-mirror 2 contain, as an OCI layout: repositories with tags that link to content.
 * Every tag is an image; manifests with a subject are included too.
 * @param root the folder above `repositories` and `blobs`
 */
export async function registryTree(
  members: Members,
  root: string,
  warn: (text: string) => void,
  signal?: AbortSignal,
): Promise<LayoutView> {
  const content = (digest: Digest): Promise<PlacedRange | undefined> => {
    const hex = hexOf(digest);
    return members.find(`${root}/blobs/${algorithmOf(digest)}/${hex.slice(0, 2)}/${hex}/data`);
  };
  const named = new Map<string, Digest>();
  const revisions = new Set<Digest>();
  const folder = `${root}/repositories/`;
  for await (const path of members.below(folder)) {
    signal?.throwIfAborted();
    const [, repository = '', tag, algorithm = '', hex = ''] =
      /^(.+)\/_manifests\/(?:tags\/([^/]+)\/current|revisions\/([^/]+)\/([^/]+))\/link$/.exec(
        path.slice(folder.length),
      ) ?? [];
    if (repository === '') continue;
    if (tag === undefined) {
      const digest = `${algorithm}:${hex}`;
      if (isDigest(digest)) revisions.add(digest);
      continue;
    }
    const digest = await linkOf(members, path);
    if (digest !== undefined && (await isReferrersTag(tag, digest, content))) continue;
    const name = digest === undefined ? undefined : nameOf(repository, tag, warn);
    if (digest !== undefined && name !== undefined) named.set(name, digest);
  }
  refuseMore([...named.keys(), ...revisions], `${folder} in ${members.file}`, maxListed);
  const entries: Descriptor[] = [];
  const add = async (digest: Digest, name: string | undefined): Promise<void> => {
    signal?.throwIfAborted();
    const found = await content(digest);
    if (found === undefined) {
      if (name !== undefined)
        warn(`skipped ${name}: its manifest ${digest} is missing from the archive; ${hint}`);
      return;
    }
    const { entry, hasSubject } = await entryOf(found, name, `manifest ${digest} in ${members.file}`);
    if (name !== undefined || hasSubject) entries.push(entry);
  };
  const addReferrer = async (digest: Digest): Promise<void> => {
    try {
      await add(digest, undefined);
    } catch (error) {
      // No image depends on it without a tag: registries keep old manifests.
      if (!isAirliftError(error, 'input', 'unsupported')) throw error;
    }
  };
  for (const [name, digest] of [...named].sort(([a], [b]) => (a < b ? -1 : 1))) await add(digest, name);
  for (const digest of [...revisions].sort()) await addReferrer(digest);
  return { members: new BlobView(members, content, hint), entries };
}
