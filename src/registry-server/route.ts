import { isRepositoryPath } from '../oci/reference.js';
import { refuse, type Reply } from './reply.js';

/** The endpoint that a request path names (distribution-spec, "Endpoints"). */
export type Route =
  | { readonly kind: 'metrics' }
  | { readonly kind: 'base' }
  | { readonly kind: 'catalog' }
  | { readonly kind: 'tags'; readonly repository: string }
  | { readonly kind: 'manifest'; readonly repository: string; readonly reference: string }
  | { readonly kind: 'blob'; readonly repository: string; readonly digest: string }
  | { readonly kind: 'referrers'; readonly repository: string; readonly digest: string }
  | { readonly kind: 'uploads'; readonly repository: string }
  | { readonly kind: 'upload'; readonly repository: string; readonly id: string };

const uploadId = /^[A-Za-z0-9-]{1,64}$/;

/** Splits a path at its end, since a repository path may itself contain words such as `blobs`. */
function split(path: string): Route | undefined {
  if (path === '/metrics') return { kind: 'metrics' };
  if (path === '/v2/' || path === '/v2') return { kind: 'base' };
  if (path === '/v2/_catalog') return { kind: 'catalog' };
  const uploads = /^\/v2\/(.+)\/blobs\/uploads\/?$/.exec(path);
  if (uploads !== null) return { kind: 'uploads', repository: uploads[1] ?? '' };
  const match =
    /^\/v2\/(.+)\/(tags)\/(list)$/.exec(path) ??
    /^\/v2\/(.+)\/(blobs\/uploads|blobs|manifests|referrers)\/([^/]+)$/.exec(path);
  if (match === null) return undefined;
  const [, repository = '', kind, last = ''] = match;
  if (kind === 'tags') return { kind, repository };
  if (kind === 'manifests') return { kind: 'manifest', repository, reference: last };
  if (kind === 'referrers') return { kind, repository, digest: last };
  if (kind === 'blobs') return { kind: 'blob', repository, digest: last };
  return { kind: 'upload', repository, id: uploadId.test(last) ? last : 'unknown' };
}

/** Parses a request target. Returns an error reply if it names no endpoint of a registry. */
export function parseTarget(target: string): { route: Route; query: URLSearchParams } | { refusal: Reply } {
  const mark = target.indexOf('?');
  const query = new URLSearchParams(mark < 0 ? '' : target.slice(mark + 1));
  let path: string;
  try {
    path = decodeURIComponent(mark < 0 ? target : target.slice(0, mark));
  } catch {
    return { refusal: refuse(400, 'NAME_INVALID', 'the path is not well-formed') };
  }
  const route = split(path);
  if (route === undefined) return { refusal: refuse(404, 'UNSUPPORTED', 'no such endpoint') };
  if ('repository' in route && !isRepositoryPath(route.repository))
    return { refusal: refuse(400, 'NAME_INVALID', 'not a repository path') };
  return { route, query };
}

/** The parameters of the distribution-spec, and `ns`, by which containerd names the mirrored registry. */
const knownParameters: ReadonlySet<string> = new Set(
  'n last artifactType digest digest-algorithm mount from tag ns'.split(' '),
);

/** Formats a request target for a log: without the values of other parameters, which might be secrets. */
export function loggedTarget(target: string): string {
  const mark = target.indexOf('?');
  if (mark < 0) return target;
  const parts = target
    .slice(mark + 1)
    .split('&')
    .map((part) => {
      const equals = part.indexOf('=');
      if (equals < 0) return '…';
      return knownParameters.has(part.slice(0, equals)) ? part : `${part.slice(0, equals)}=…`;
    });
  return `${target.slice(0, mark)}?${parts.join('&')}`;
}
