import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { it } from 'node:test';
import { testClient } from '../client.js';
import { collect, content } from '../content.js';
import { sendFault, startOddServer, type Handler } from '../odd-server.js';

const { descriptor, bytes } = content(randomBytes(5000));

const wantsPassword =
  (next: Handler): Handler =>
  (request, response, url) => {
    if (request.headers.authorization === undefined)
      response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
    else next(request, response, url);
  };

it('follows redirects to another host without the authorization', async (t) => {
  const storage = await startOddServer(t, (_request, response) => response.end(bytes));
  const server = await startOddServer(
    t,
    wantsPassword((request, response) => {
      const location =
        request.url?.includes('hop') === true ? `http://${storage.host}/x?sig=5ec2e7` : '/v2/hop';
      response.writeHead(307, { location }).end('elsewhere');
    }),
  );
  const { registry, traces } = testClient(t, { credentials: { username: 'jane', password: 'pa55word' } });
  const name = { registry: server.host, repository: 'a' };
  assert.deepEqual(await collect(await registry.fetch(name, descriptor)), bytes);
  assert.equal(server.seen.at(-1)?.url, '/v2/hop');
  assert.match(String(server.seen.at(-1)?.headers['authorization']), /^Basic /);
  assert.equal(storage.seen.length, 1);
  assert.equal(storage.seen[0]?.headers['authorization'], undefined);
  assert.deepEqual(
    traces.map(({ status }) => status),
    [401, 307, 307, 200],
  );
  assert.equal(traces.at(-1)?.url, `http://${storage.host}/x?sig=***`);
  assert.doesNotMatch(JSON.stringify(traces), /pa55word|5ec2e7|amFuZTpwYTU1d29yZA/);
});

it('does not send the authorization again after a redirect back', async (t) => {
  const away = await startOddServer(t, (request, response) => {
    response.writeHead(302, { location: `http://${server.host}/back` }).end(request.method);
  });
  const server = await startOddServer(t, (request, response) => {
    if (request.url === '/back') response.end(bytes);
    else
      wantsPassword(() => response.writeHead(302, { location: `http://${away.host}/` }).end())(
        request,
        response,
        new URL('http://x'),
      );
  });
  const { registry } = testClient(t, { credentials: { username: 'jane', password: 'pa55word' } });
  await collect(await registry.fetch({ registry: server.host, repository: 'a' }, descriptor));
  assert.equal(server.seen.at(-1)?.url, '/back');
  assert.equal(server.seen.at(-1)?.headers['authorization'], undefined);
});

it('does not answer the challenge of a host after a redirect', async (t) => {
  const storage = await startOddServer(
    t,
    wantsPassword((_request, response) => response.end(bytes)),
  );
  const server = await startOddServer(t, (_request, response) => {
    response.writeHead(307, { location: `http://${storage.host}/x` }).end();
  });
  const { registry } = testClient(t, { credentials: { username: 'jane', password: 'pa55word' } });
  await assert.rejects(registry.fetch({ registry: server.host, repository: 'a' }, descriptor), {
    code: 'unauthorized',
    hint: `the request was redirected to http://${storage.host}, and credentials are not sent to another host`,
  });
  assert.equal(storage.seen.length, 1);
});

it('stops at endless redirects and at targets that are not HTTP', async (t) => {
  let location = '/again';
  const server = await startOddServer(t, (_request, response) => response.writeHead(302, { location }).end());
  const { registry } = testClient(t);
  const name = { registry: server.host, repository: 'a' };
  await assert.rejects(registry.fetch(name, descriptor), {
    code: 'registry',
    message: /more than 10 redirects/,
  });
  assert.equal(server.seen.length, 11);
  for (location of ['file:///etc/passwd', 'http://[', 'ftp://x/'])
    await assert.rejects(registry.fetch(name, descriptor), { code: 'registry' });
});

it('waits for Retry-After, in seconds or until a date', async (t) => {
  const headers = [{ 'retry-after': '0' }, { 'retry-after': new Date().toUTCString() }];
  const server = await startOddServer(t, (_request, response) => {
    const retryHeaders = headers.shift();
    if (retryHeaders === undefined) response.end(bytes);
    else response.writeHead(429, retryHeaders).end();
  });
  const { registry } = testClient(t, { retryDelay: 60_000 });
  const stream = await registry.fetch({ registry: server.host, repository: 'a' }, descriptor);
  assert.deepEqual(await collect(stream), bytes);
});

it('gives up if Retry-After is too long', async (t) => {
  const server = await startOddServer(t, (_request, response) => {
    response.writeHead(429, { 'retry-after': '3600' }).end();
  });
  const { registry } = testClient(t, { maxRetryAfter: 1000 });
  await assert.rejects(registry.fetch({ registry: server.host, repository: 'a' }, descriptor), {
    code: 'rate-limited',
    message: /got 3600 s, want at most 1 s/,
    status: 429,
  });
  assert.equal(server.seen.length, 1);
});

it('retries 5xx but never 401, 403 and 404', async (t) => {
  let status = 503;
  const server = await startOddServer(t, (_request, response) =>
    sendFault(response, status, 'X', 'no\u0007\nway'),
  );
  const { registry } = testClient(t);
  const fetching = (): Promise<unknown> =>
    registry.fetch({ registry: server.host, repository: 'a' }, descriptor);
  const what = `fetch blob ${descriptor.digest} of ${server.host}/a`;
  await assert.rejects(fetching(), {
    code: 'registry',
    message: `${what}: the registry failed (503 X): no way`,
  });
  assert.equal(server.seen.length, 3);
  for (const [code, next] of [
    ['unauthorized', 401],
    ['denied', 403],
    ['not-found', 404],
  ] as const) {
    status = next;
    server.seen.length = 0;
    await assert.rejects(fetching(), { code, status });
    assert.equal(server.seen.length, 1);
  }
});

it('names the login command', async (t) => {
  const server = await startOddServer(t, (_request, response) =>
    sendFault(response, 401, 'UNAUTHORIZED', 'authentication required'),
  );
  await assert.rejects(testClient(t).registry.fetch({ registry: server.host, repository: 'a' }, descriptor), {
    message: `fetch blob ${descriptor.digest} of ${server.host}/a: unauthorized (401)`,
    hint: `airlift login ${server.host}`,
  });
});

it('reports an unreachable host after few retries', async (t) => {
  const ends: (() => Promise<void> | void)[] = [];
  const gone = await startOddServer({ after: (work) => void ends.push(work) }, () => undefined);
  for (const end of ends) await end();
  const { registry } = testClient(t, { retries: 50 });
  await assert.rejects(registry.resolve({ registry: gone.host, repository: 'a', tag: 'b' }), {
    code: 'network',
    message: `resolve ${gone.host}/a:b: connection refused by ${gone.host}`,
  });
});

it('reports a server without TLS', async (t) => {
  const server = await startOddServer(t, (_request, response) => response.end());
  const { registry } = testClient(t, { plainHttp: false });
  await assert.rejects(registry.resolve({ registry: server.host, repository: 'a', tag: 'b' }), {
    code: 'tls',
    message: `resolve ${server.host}/a:b: ${server.host} does not use TLS`,
    hint: 'for a registry without TLS pass `plainHttp: true`',
  });
});

it('hides secrets that a registry repeats', async (t) => {
  const server = await startOddServer(
    t,
    wantsPassword((request, response) => {
      const encoded = String(request.headers.authorization).slice(6);
      sendFault(response, 403, 'DENIED', `bad ${encoded} ${Buffer.from(encoded, 'base64').toString('utf8')}`);
    }),
  );
  const { registry } = testClient(t, { credentials: { username: 'jane', password: 'pa55word' } });
  await assert.rejects(registry.fetch({ registry: server.host, repository: 'a' }, descriptor), {
    message: /denied \(403\): bad \*\*\* jane:\*\*\*$/,
  });
});
