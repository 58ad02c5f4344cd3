import { AirliftError } from '../../errors.js';
import { headerOf, parseLinks } from '../http/headers.js';
import { readBody } from '../http/responses.js';
import type { WireResponse } from '../http/wire.js';
import type { Call, RegistryClient } from './client.js';

const maxPage = 8 * 1024 * 1024;
const maxPages = 10_000;
/** The most bytes of all pages of a list: enough for more than a million tags. */
const maxList = 32 * 1024 * 1024;

export interface Page {
  readonly response: WireResponse;
  readonly bytes: Buffer;
}

/**
 * Returns the address of the next page from the `Link` header (RFC 8288 section 3); undefined on the last page.
 * @throws AirliftError `registry` if the header is malformed: ignoring it would silently cut the list
 */
function nextPage(response: WireResponse, action: string): URL | undefined {
  const header = headerOf(response, 'link');
  if (header === undefined || header.trim() === '') return undefined;
  const fail = (): never => {
    throw new AirliftError(
      'registry',
      `${action}: malformed Link header for the next page; got ${JSON.stringify(header.slice(0, 200))}`,
    );
  };
  const links = parseLinks(header) ?? fail();
  // A link without a relation means the next page: these lists have no other links.
  const next = links.find(({ relations }) => relations.includes('next') || relations.length === 0);
  if (next === undefined) return undefined;
  if (next.target === '' || !URL.canParse(next.target, response.url.href)) return fail();
  const url = new URL(next.target, response.url);
  // Behind a proxy a registry often does not know its own scheme and port.
  if (url.hostname === response.url.hostname)
    [url.protocol, url.port] = [response.url.protocol, response.url.port];
  return url;
}

/**
 * Reads a list page by page (distribution-spec, "Listing Tags", "Listing Referrers").
 * @throws AirliftError `registry` if a page leads to another host or back to an earlier page, or a `Link` header is malformed
 */
export async function* readPages(client: RegistryClient, first: Call, thing: string): AsyncGenerator<Page> {
  const seen = new Set<string>();
  let total = 0;
  let url: URL | undefined = first.url;
  while (url !== undefined) {
    if (url.origin !== first.url.origin)
      throw new AirliftError('registry', `${first.action}: the next page is on another host, ${url.host}`);
    if (seen.has(url.href) || seen.size >= maxPages)
      throw new AirliftError('registry', `${first.action}: the list of pages does not end`);
    seen.add(url.href);
    const response = await client.send({ ...first, url, whole: maxPage });
    if (response.status !== 200) throw await client.errorFor(response, first, thing);
    const bytes = await readBody(response.body, maxPage, first.action);
    total += bytes.length;
    if (total > maxList)
      throw new AirliftError(
        'registry',
        `${first.action}: the list is too large; want at most ${maxList} bytes`,
      );
    yield { response, bytes };
    url = nextPage(response, first.action);
  }
}
