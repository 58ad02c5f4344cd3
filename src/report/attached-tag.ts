import { isCompanionTag } from '../oci/companion-tag.js';

/**
 * Reports whether a tag holds what is attached to an image: one of cosign's tags, or the list of referrers in a registry without the
 * referrers API (OCI distribution-spec, "Referrers Tag Schema").
 */
export function isAttachedTag(tag: string | undefined): boolean {
  return isCompanionTag(tag) || /^sha(?:256|512)-[0-9a-f]{64,128}$/.test(tag ?? '');
}
