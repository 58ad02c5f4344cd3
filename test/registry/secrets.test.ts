import assert from 'node:assert/strict';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { it } from 'node:test';
import { inspect } from 'node:util';
import { temp } from '../support/temp.js';
import { testClient, type TestClient } from './client.js';
import { collect, content, opener } from './content.js';
import { readRequest, sendFault, sendJson, startOddServer } from './odd-server.js';
import type { RegistryOptions } from '../../src/registry/registry.js';

/** All secrets used below; each occurrence in an output is a leak. */
const leak = /s3cr3t/i;
const encodedLeaks = ['jane:pa-s3cr3t', 'u:proxy-s3cr3t', 'x:id-s3cr3t'].map((text) =>
  Buffer.from(text).toString('base64'),
);

const { descriptor, bytes } = content('what is fetched');

it('shows no password, token, signature or session in errors, traces and warnings', async (t) => {
  const dir = temp(t);
  const storage = await startOddServer(t, (request, response) => {
    if (request.url?.includes('broken') === true) request.socket.destroy();
    else response.end(bytes);
  });
  // A registry that repeats what it received in its responses.
  const server = await startOddServer(t, (request, response, url) => {
    const sent = request.headers.authorization ?? '';
    const decoded = Buffer.from(sent.split(' ')[1] ?? '', 'base64').toString('utf8');
    if (url.pathname === '/token') {
      void readRequest(request).then((form) => {
        if (url.searchParams.get('service') === 'echo')
          sendFault(response, 400, 'DENIED', `you sent ${sent} ${decoded} ${form.toString()}`);
        else sendJson(response, 200, { token: 'tok-s3cr3t', refresh_token: 'refresh-s3cr3t' });
      });
      return;
    }
    const repository = url.pathname.split('/')[2] ?? '';
    const challenge = repository.startsWith('basic')
      ? 'Basic realm="x"'
      : `Bearer realm="http://x:realm-s3cr3t@${server.host}/token",service="${repository}"`;
    if (sent === '') {
      response.writeHead(401, { 'www-authenticate': challenge.replace('x:realm-s3cr3t@', '') }).end();
      return;
    }
    if (url.pathname.includes('/uploads/')) {
      response
        .writeHead(202, { location: `http://u:loc-s3cr3t@${server.host}/up?_state=state-s3cr3t` })
        .end();
    } else if (request.method === 'PUT') {
      void readRequest(request).then(() =>
        sendFault(response, 400, 'DIGEST_INVALID', `state-and ${sent} ${decoded}`),
      );
    } else if (url.pathname.endsWith('/tags/list')) {
      response.setHeader('link', `<${url.pathname}?sig=link-s3cr3t&n=2>; rel="next"`);
      sendJson(response, 200, { tags: ['a'] });
    } else if (repository === 'basic-fault' || repository === 'fault') {
      response.setHeader('x-secret', sent);
      response.setHeader('set-cookie', 'session=cookie-s3cr3t');
      sendFault(response, 403, 'DENIED', `${sent} ${decoded} ${encodeURIComponent(decoded)}`);
    } else {
      const path = repository === 'broken' ? 'broken' : 'x';
      response
        .writeHead(307, { location: `http://u:p-s3cr3t@${storage.host}/${path}?X-Amz-Signature=sig-s3cr3t` })
        .end();
    }
  });
  const clients: TestClient[] = [];
  const thrown: unknown[] = [];
  const attempt = async (work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      thrown.push(error);
    }
  };
  const authFile = join(dir, 'auth.json');
  await writeFile(
    authFile,
    JSON.stringify({
      auths: {
        [server.host]: { auth: Buffer.from('x:id-s3cr3t').toString('base64'), identitytoken: 'id-s3cr3t' },
      },
    }),
  );
  const brokenFile = join(dir, 'broken.json');
  await writeFile(brokenFile, '{"auths": {"x": {"auth": "file-s3cr3t');
  const credentials = { username: 'jane', password: 'pa-s3cr3t' };
  const proxy = { http: 'http://u:proxy-s3cr3t@127.0.0.1:1', https: 'u:proxy-s3cr3t@127.0.0.1:1' };
  const settings: RegistryOptions[] = [
    { credentials },
    { authFiles: [authFile] },
    { authFiles: [brokenFile] },
  ];
  for (const options of settings) {
    const made = testClient(t, { ...options, retries: 1 });
    clients.push(made);
    const { registry } = made;
    for (const repository of ['basic', 'basic-fault', 'fault', 'echo', 'broken', 'a']) {
      const name = { registry: server.host, repository };
      await attempt(async () => collect(await registry.fetch(name, descriptor)));
      await attempt(() => registry.push(name, descriptor, opener(bytes)));
      await attempt(() => registry.resolve({ ...name, tag: '1' }));
      await attempt(async () => {
        for await (const tag of registry.tags(name)) void tag;
      });
    }
  }
  for (const plainHttp of [true, false]) {
    const made = testClient(t, { credentials, proxy, plainHttp, retries: 0 });
    clients.push(made);
    await attempt(() => made.registry.fetch({ registry: 'far.test', repository: 'a' }, descriptor));
  }
  await mkdir(join(dir, 'bin'));
  const helper = join(dir, 'bin', 'docker-credential-airlift-loud');
  await writeFile(helper, '#!/bin/sh\necho \'{"Username":"u","Secret":"helper-s3cr3t"\'\n');
  await chmod(helper, 0o755);
  const before = process.env['PATH'];
  process.env['PATH'] = `${join(dir, 'bin')}${delimiter}${before ?? ''}`;
  await writeFile(authFile, JSON.stringify({ credsStore: 'airlift-loud' }));
  const loud = testClient(t, { authFiles: [authFile] });
  clients.push(loud);
  await attempt(() => loud.registry.resolve({ registry: server.host, repository: 'basic', tag: '1' }));
  process.env['PATH'] = before;

  const outputs = [
    ...thrown.map((error) => inspect(error, { depth: 20, showHidden: true })),
    ...clients.flatMap(({ traces, warnings }) => [...traces.map((trace) => inspect(trace)), ...warnings]),
  ];
  assert.ok(thrown.length > 30 && outputs.length > 100, `${thrown.length} errors, ${outputs.length} outputs`);
  for (const text of outputs) {
    assert.doesNotMatch(text, leak);
    for (const encoded of encodedLeaks) assert.ok(!text.includes(encoded), text);
  }
});
