import type { ServerResponse } from 'node:http';
import type { Cleanup } from '../support/temp.js';
import type { Content } from './content.js';
import { sendFault, startOddServer, type OddServer } from './odd-server.js';

/** A request for content. */
export interface Wanted {
  /** The digest or tag at the end of the path. */
  readonly name: string;
  readonly method: string;
  readonly path: string;
}

/**
 * Serves content by digest in every repository, and `root` under tag `1`.
 * @param spoil may answer a request first; returns whether it did
 */
export async function serveContent(
  t: Cleanup,
  held: readonly Content[],
  root: Content,
  spoil: (wanted: Wanted, response: ServerResponse) => boolean = () => false,
): Promise<OddServer> {
  const byDigest = new Map<string, Content>(held.map((one) => [one.descriptor.digest, one]));
  return startOddServer(t, (request, response, url) => {
    const name = url.pathname.split('/').at(-1) ?? '';
    if (spoil({ name, method: request.method ?? '', path: url.pathname }, response)) return;
    const one = name === '1' ? root : byDigest.get(name);
    if (one === undefined) return sendFault(response, 404, 'MANIFEST_UNKNOWN');
    const { mediaType, digest, size } = one.descriptor;
    response.writeHead(200, {
      'content-type': mediaType,
      'docker-content-digest': digest,
      'content-length': size,
    });
    response.end(request.method === 'HEAD' ? undefined : one.bytes);
  });
}
