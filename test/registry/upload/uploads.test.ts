import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { it, type TestContext } from 'node:test';
import { AirliftError } from '../../../src/errors.js';
import { Registry, type RegistryOptions } from '../../../src/registry/registry.js';
import { content, opener } from '../content.js';
import { readRequest, startOddServer, type OddServer } from '../odd-server.js';

const { descriptor, bytes } = content(randomBytes(400_000));

type Answer = (request: IncomingMessage, response: ServerResponse, url: URL) => void;

interface Setup {
  readonly server: OddServer;
  readonly registry: Registry;
  readonly name: { registry: string; repository: string };
  readonly bodies: Buffer[];
}

/** A server that starts sessions with `post` and accepts content with `put`. */
async function setUp(
  t: TestContext,
  post: Answer,
  put?: Answer,
  options: RegistryOptions = {},
): Promise<Setup> {
  const bodies: Buffer[] = [];
  const take: Answer = (request, response) => {
    readRequest(request).then(
      (body) => {
        bodies.push(body);
        response.writeHead(201).end();
      },
      () => undefined,
    );
  };
  const server = await startOddServer(t, (request, response, url) => {
    if (request.method === 'POST') post(request, response, url);
    else if (request.method === 'PUT') (put ?? take)(request, response, url);
    else response.writeHead(request.method === 'HEAD' ? 404 : 204).end();
  });
  const registry = new Registry({ retries: 2, retryDelay: 1, ...options });
  t.after(() => registry.close());
  return { server, registry, name: { registry: server.host, repository: 'a/b' }, bodies };
}

const accepted =
  (location: string): Answer =>
  (_request, response) =>
    void response.writeHead(202, { location }).end();

it('keeps the query of a session and sends the content in one request', async (t) => {
  const { server, registry, name, bodies } = await setUp(t, accepted('/up/1?_state=x%2By&k=1'));
  assert.equal(await registry.push(name, descriptor, opener(bytes)), 'uploaded');
  assert.deepEqual(bodies, [bytes]);
  const put = server.seen.at(-1);
  assert.equal(put?.url, `/up/1?_state=x%2By&k=1&digest=${encodeURIComponent(descriptor.digest)}`);
  assert.equal(put.headers['content-length'], '400000');
  assert.equal(put.headers['content-type'], 'application/octet-stream');
});

it('uploads to another host without the authorization', async (t) => {
  const storage = await setUp(t, accepted('/'));
  const { server, registry, name } = await setUp(
    t,
    (request, response) => {
      if (request.headers.authorization === undefined)
        response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
      else response.writeHead(202, { location: `http://u:p@${storage.server.host}/up?s=1` }).end();
    },
    undefined,
    { credentials: { username: 'jane', password: 'pa55word' } },
  );
  assert.equal(await registry.push(name, descriptor, opener(bytes)), 'uploaded');
  assert.equal(server.seen.length, 2);
  assert.deepEqual(storage.bodies, [bytes]);
  assert.equal(storage.server.seen[0]?.headers['authorization'], undefined);
});

it('mounts on 201, uses the session of a 202, and starts an upload if mounting is rejected', async (t) => {
  for (const [status, uploads, pushed] of [
    [201, 0, 'mounted'],
    [202, 1, 'uploaded'],
    [405, 1, 'uploaded'],
  ] as const) {
    const { server, registry, name, bodies } = await setUp(t, (_request, response, url) => {
      const isMount = url.searchParams.has('mount');
      response.writeHead(isMount ? status : 202, { location: '/up/1' }).end();
    });
    const mountFrom = { ...name, repository: 'c/d' };
    assert.equal(await registry.push(name, descriptor, opener(bytes), { mountFrom }), pushed);
    assert.equal(bodies.length, uploads);
    const query = new URL(server.seen[0]?.url ?? '', 'http://x').searchParams;
    assert.deepEqual([query.get('mount'), query.get('from')], [descriptor.digest, 'c/d']);
    assert.equal(server.seen.filter(({ method }) => method === 'POST').length, status === 405 ? 2 : 1);
  }
});

it('starts again from the beginning after a break or a 5xx', async (t) => {
  let faults = 2;
  const { server, registry, name, bodies } = await setUp(t, accepted('/up/1'), (request, response) => {
    if (faults-- === 2) {
      request.once('data', () => request.socket.destroy());
      return;
    }
    void readRequest(request).then((body) => {
      bodies.push(body);
      response.writeHead(faults === 0 ? 503 : 201).end();
    });
  });
  assert.equal(await registry.push(name, descriptor, opener(bytes)), 'uploaded');
  assert.deepEqual(bodies, [bytes, bytes]);
  assert.equal(server.seen.filter(({ method }) => method === 'POST').length, 3);
  faults = 0;
});

it('cancels the session and reports the error if the content cannot be read', async (t) => {
  const { server, registry, name, bodies } = await setUp(t, accepted('/up/1'));
  const damaged = new AirliftError('damaged', 'read blob: gone');
  const open = (): Promise<Readable> => {
    const stream = new Readable({ read: () => undefined });
    stream.push(bytes.subarray(0, 1000));
    setImmediate(() => stream.destroy(damaged));
    return Promise.resolve(stream);
  };
  await assert.rejects(registry.push(name, descriptor, open), (error) => error === damaged);
  assert.deepEqual(bodies, []);
  assert.deepEqual(
    server.seen.filter(({ method }) => method !== 'PUT').map(({ method }) => method),
    ['POST', 'DELETE'],
  );
});

it('sends all but the last bytes of wrong content', async (t) => {
  const { registry, name, bodies } = await setUp(t, accepted('/up/1'));
  const wrong = Buffer.from(bytes);
  wrong[0] = (wrong[0] ?? 0) ^ 1;
  await assert.rejects(registry.push(name, descriptor, opener(wrong)), { code: 'digest-mismatch' });
  assert.deepEqual(bodies, []);
});

it('rejects sessions without an address', async (t) => {
  for (const location of ['', 'ftp://x/', 'http://['])
    await t.test(location, async (t) => {
      const { registry, name } = await setUp(t, accepted(location));
      await assert.rejects(registry.push(name, descriptor, opener(bytes)), { code: 'registry' });
    });
});

it('stops at once when it is interrupted with much left to send', async (t) => {
  const large = content(randomBytes(40_000_000));
  const abort = new AbortController();
  const { registry, name } = await setUp(t, accepted('/up/1'), (request) => {
    request.once('data', () => abort.abort());
  });
  await assert.rejects(registry.push(name, large.descriptor, opener(large.bytes), { signal: abort.signal }), {
    code: 'interrupted',
  });
});

it('completes an almost finished upload when it is interrupted', async (t) => {
  const abort = new AbortController();
  const { registry, name, bodies } = await setUp(t, accepted('/up/1'), (request, response) => {
    abort.abort();
    void readRequest(request).then((body) => {
      bodies.push(body);
      response.writeHead(201).end();
    });
  });
  assert.equal(await registry.push(name, descriptor, opener(bytes), { signal: abort.signal }), 'uploaded');
  assert.deepEqual(bodies, [bytes]);
});

it('sends the content again after a redirect, without the authorization', async (t) => {
  const storage = await setUp(t, accepted('/'));
  const { registry, name } = await setUp(t, accepted('/up/1'), (request, response) => {
    request.resume();
    response.writeHead(307, { location: `http://${storage.server.host}/there?sig=1` }).end();
  });
  assert.equal(await registry.push(name, descriptor, opener(bytes)), 'uploaded');
  assert.deepEqual(storage.bodies, [bytes]);
  assert.equal(storage.server.seen[0]?.url, '/there?sig=1');
});

it('gets a new token if one is rejected during an upload', async (t) => {
  const large = content(randomBytes(30_000_000));
  let tokens = 0;
  let refused = 0;
  const bodies: number[] = [];
  const server = await startOddServer(t, (request, response, url) => {
    const isGood = request.headers.authorization === `Bearer t${tokens}`;
    if (url.pathname === '/token') {
      response.end(JSON.stringify({ token: `t${++tokens}`, expires_in: 3600 }));
    } else if (!isGood || (request.method === 'PUT' && refused++ === 0)) {
      // Does not read the request body.
      response.writeHead(401, { 'www-authenticate': `Bearer realm="http://${server.host}/token"` }).end();
    } else if (request.method === 'POST') {
      response.writeHead(202, { location: '/up/1' }).end();
    } else if (request.method === 'PUT') {
      void readRequest(request).then((body) => {
        bodies.push(body.byteLength);
        response.writeHead(201).end();
      });
    } else response.writeHead(request.method === 'HEAD' ? 404 : 204).end();
  });
  const registry = new Registry({ retryDelay: 1 });
  t.after(() => registry.close());
  const name = { registry: server.host, repository: 'a/b' };
  assert.equal(await registry.push(name, large.descriptor, opener(large.bytes)), 'uploaded');
  assert.deepEqual(bodies, [30_000_000]);
  assert.equal(tokens, 2);
});
