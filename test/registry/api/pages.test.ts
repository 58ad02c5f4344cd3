import assert from 'node:assert/strict';
import { it } from 'node:test';
import { testClient } from '../client.js';
import { sendJson, startOddServer, type OddServer } from '../odd-server.js';
import type { Cleanup } from '../../support/temp.js';

const allTags = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i'];

/** A registry that lists three tags per page, with a given form of the Link header. */
function registry(t: Cleanup, link: (url: string, host: string) => string): Promise<OddServer> {
  return startOddServer(t, (request, response, url) => {
    const from = allTags.indexOf(url.searchParams.get('last') ?? '') + 1;
    const tags = allTags.slice(from, from + 3);
    if (from + 3 < allTags.length)
      response.setHeader('link', link(`${url.pathname}?n=3&last=${tags.at(-1)}`, request.headers.host ?? ''));
    sendJson(response, 200, { name: 'a/b', tags });
  });
}

async function listed(t: Cleanup, server: OddServer): Promise<{ tags: string[]; warnings: string[] }> {
  const { registry: client, warnings } = testClient(t);
  const tags: string[] = [];
  for await (const tag of client.tags({ registry: server.host, repository: 'a/b' })) tags.push(tag);
  return { tags, warnings };
}

const forms: [string, (url: string, host: string) => string][] = [
  ['as the specification has it', (url) => `<${url}>; rel="next"`],
  ['absolute', (url, host) => `<http://${host}${url}>; rel="next"`],
  ['with the scheme and port behind a proxy', (url) => `<https://127.0.0.1:8443${url}>; rel="next"`],
  ['without quotes', (url) => `<${url}>; rel=next`],
  ['in single quotes', (url) => `<${url}>; rel='next'`],
  ['in capitals, without spaces', (url) => `<${url}>;REL="Next"`],
  ['behind another parameter', (url) => `<${url}>; title="a; b, c"; rel="next"`],
  ['with several relations', (url) => `<${url}>; rel="last next"`],
  ['behind another link', (url) => `<${url}&prev=1>; rel="prev", <${url}>; rel="next"`],
  ['without angle brackets', (url) => `${url}; rel="next"`],
  ['without a relation', (url) => `<${url}>`],
  ['with a semicolon at the end', (url) => `<${url}>; rel="next";`],
  ['with the query alone', (url) => `<${url.slice(url.indexOf('?'))}>; rel="next"`],
];

for (const [name, link] of forms)
  it(`follows a Link header ${name}`, async (t) => {
    assert.deepEqual((await listed(t, await registry(t, link))).tags, allTags);
  });

it('ends a list if its Link header has no next page', async (t) => {
  assert.deepEqual(
    (await listed(t, await registry(t, (url) => `<${url}>; rel="prev"`))).tags,
    allTags.slice(0, 3),
  );
});

it('never treats a malformed Link header as the last page', async (t) => {
  for (const link of ['<http://[/v2>; rel="next"', '<>; rel="next"', '<unclosed; rel="next"', '"quoted"'])
    await assert.rejects(
      registry(t, () => link).then((server) => listed(t, server)),
      {
        code: 'registry',
        message: /^list tags of \S+: malformed Link header for the next page; got "/,
      },
    );
});

it('skips invalid tags in a list, with a warning', async (t) => {
  const server = await startOddServer(t, (_request, response) =>
    sendJson(response, 200, { name: 'a/b', tags: ['1.0', 'not a tag', null, '-x', 7, '2.0'] }),
  );
  const { tags, warnings } = await listed(t, server);
  assert.deepEqual(tags, ['1.0', '2.0']);
  assert.deepEqual(
    warnings.map((text) => /skipped invalid tags: (.*)$/.exec(text)?.[1]),
    ['"not a tag", null, "-x" and 1 more'],
  );
});
