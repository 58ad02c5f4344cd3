import { AirliftError } from '../../errors.js';
import { readBody } from '../http/answers.js';
import type { Call, RegistryClient } from './client.js';
import { parseLinks } from '../http/headers.js';
import { headerOf } from '../http/headers.js';
import type { WireAnswer } from '../http/wire.js';

const maxPage = 8 * 1024 * 1024;
const maxPages = 10_000;
/** Of all pages of one list: more than a million tags. */
const maxList = 32 * 1024 * 1024;

export interface Page {
  readonly answer: WireAnswer;
  readonly bytes: Buffer;
}

/**
 * The address of the next page, from the `Link` header (RFC 8288 section 3), where there is one.
 * @throws AirliftError `registry` where the header is not understood: the list would end in the middle, silently
 */
export function nextPage(answer: WireAnswer, doing: string): URL | undefined {
  const header = headerOf(answer, 'link');
  if (header === undefined || header.trim() === '') return undefined;
  const refuse = (): never => {
    throw new AirliftError(
      'registry',
      `${doing}: the Link header that leads to the next page is malformed; got ${JSON.stringify(header.slice(0, 200))}`,
    );
  };
  const links = parseLinks(header) ?? refuse();
  // A registry that names no relation means the next page: these lists have no other.
  const next = links.find(({ relations }) => relations.includes('next') || relations.length === 0);
  if (next === undefined) return undefined;
  if (next.target === '' || !URL.canParse(next.target, answer.url.href)) return refuse();
  const url = new URL(next.target, answer.url);
  // A proxy in front of a registry often hides its scheme and port from it.
  if (url.hostname === answer.url.hostname) [url.protocol, url.port] = [answer.url.protocol, answer.url.port];
  return url;
}

/**
 * Reads a list that comes in pages (distribution-spec, "Listing Tags", "Listing Referrers").
 * @throws AirliftError `registry` where the pages lead to another host or in a circle, or a `Link` header is malformed
 */
export async function* pages(client: RegistryClient, first: Call, thing: string): AsyncGenerator<Page> {
  const seen = new Set<string>();
  let total = 0;
  let url: URL | undefined = first.url;
  while (url !== undefined) {
    if (url.origin !== first.url.origin)
      throw new AirliftError('registry', `${first.doing}: the next page is on another host, ${url.host}`);
    if (seen.has(url.href) || seen.size >= maxPages)
      throw new AirliftError('registry', `${first.doing}: the pages do not come to an end`);
    seen.add(url.href);
    const answer = await client.send({ ...first, url, whole: maxPage });
    if (answer.status !== 200) throw await client.refusal(answer, first, thing);
    const bytes = await readBody(answer.body, maxPage, first.doing);
    total += bytes.length;
    if (total > maxList)
      throw new AirliftError(
        'registry',
        `${first.doing}: the list is too large; want at most ${maxList} bytes`,
      );
    yield { answer, bytes };
    url = nextPage(answer, first.doing);
  }
}
