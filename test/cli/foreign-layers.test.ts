import assert from 'node:assert/strict';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { bytesOf } from '../support/content.js';
import { startDockerRegistry, type DockerRegistry } from '../support/docker-registry.js';
import { newHome } from '../support/home.js';
import { bigLayer, imageOf, layer, type Layer, type TestImage } from '../support/images.js';
import { rootfs } from '../support/image-sets.js';
import { needs } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { temp, type Cleanup } from '../support/temp.js';
import { sameContent, walkImage, walkRegistry } from '../support/walk.js';

const access = { user: 'courier', password: 'f0reign-pass' };
const creds = ['--creds', `${access.user}:${access.password}`];
const held = bigLayer(300_000, 'foreign');
const bytes = bytesOf(held.content ?? assert.fail());

/** Starts an HTTP server with the layer. The first response breaks off; the next one serves the rest. */
async function startStorage(t: Cleanup): Promise<{ host: string; seen: IncomingMessage[] }> {
  const seen: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    seen.push(request);
    response.on('error', () => undefined);
    const path = request.url ?? '';
    if (path.startsWith('/moved'))
      response.writeHead(302, { location: path.replace('moved', 'layer') }).end();
    else if (path.startsWith('/layer')) {
      const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
      const range = { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` };
      response.writeHead(from === 0 ? 200 : 206, {
        'content-length': bytes.length - from,
        ...(from === 0 ? {} : range),
      });
      const isFirst = seen.filter(({ url = '' }) => url.startsWith('/layer')).length === 1;
      if (isFirst) response.write(bytes.subarray(0, 100_000), () => response.socket?.end());
      else response.end(bytes.subarray(from));
    } else if (path.startsWith('/wrong')) response.end(Buffer.from(bytes).fill(0, 5000, 5009));
    else response.writeHead(404).end();
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => new Promise<void>((done) => void server.close(() => done()).closeAllConnections()));
  return { host: `127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

/** An image with a layer that exists only at these urls. */
function imageAt(mediaType: string, urls: string[]): TestImage {
  const elsewhere: Layer = {
    ...held,
    content: undefined,
    descriptor: { ...held.descriptor, mediaType, urls },
  };
  const platform = { architecture: 'amd64', os: 'windows', 'os.version': '10.0.17763.1999' };
  return imageOf({
    flavour: 'docker',
    platform,
    layers: [elsewhere, layer(rootfs('web'), { flavour: 'docker' })],
  });
}

const dockerForeign = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip';
const ociForeign = 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip';

describe('foreign layers', { skip: needs('docker-registry', 'htpasswd') }, () => {
  let registry: DockerRegistry;
  let site: DockerRegistry;
  const { env } = newHome({ after });
  let pushed = 0;

  before(async () => {
    registry = await startDockerRegistry({ htpasswd: access });
    site = await startDockerRegistry();
  });
  after(() => Promise.all([registry?.stop(), site?.stop()]));

  async function push(image: TestImage): Promise<string> {
    const repository = `acme/windows${++pushed}`;
    await pushImage(registry.host, repository, '1', image, access);
    return repository;
  }
  const exporting = (repository: string, output: string, ...flags: string[]): string[] => [
    ...[
      'export',
      `${registry.host}/${repository}:1`,
      '-o',
      output,
      '--retry-delay',
      '5ms',
      ...creds,
      ...flags,
    ],
  ];

  for (const mediaType of [dockerForeign, ociForeign])
    test(`${mediaType}: fetched from its urls, without the registry password, and resumed after a break`, async (t) => {
      const storage = await startStorage(t);
      const image = imageAt(mediaType, [
        ...(mediaType === ociForeign ? [`ftp://${storage.host}/layer`] : []),
        `http://${storage.host}/gone`,
        `http://me:hidden-pass@${storage.host}/moved?sig=hidden-sig`,
      ]);
      const repository = await push(image);
      const bundle = join(temp(t), 'site.tar');
      const { stdout, stderr } = await airlift(exporting(repository, bundle, '--trace-requests'), { env });
      await airlift(['verify', bundle]);
      assert.ok(
        storage.seen.some(({ headers }) => headers.range !== undefined),
        'the rest is requested',
      );
      for (const { url, headers } of storage.seen) {
        assert.equal(headers.authorization, undefined, url);
        assert.ok(!JSON.stringify([url, headers]).includes(access.password));
      }
      assert.doesNotMatch(`${stdout}${stderr}`, /hidden/);
      await airlift(['import', bundle, '--to', site.host]);
      const { content } = await walkRegistry(site.host, repository, '1');
      const want = await walkImage(image);
      assert.equal(want.get(held.descriptor.digest), 'absent');
      assert.notEqual(content.get(held.descriptor.digest), 'absent', 'the site holds it');
      for (const walk of [content, want]) walk.delete(held.descriptor.digest);
      sameContent(content, want);
    });

  test('--foreign-layers keep: the layer is not exported, and its descriptor keeps its urls', async (t) => {
    const storage = await startStorage(t);
    const image = imageAt(dockerForeign, [`http://${storage.host}/layer`]);
    const repository = await push(image);
    const bundle = join(temp(t), 'site.tar');
    await airlift(exporting(repository, bundle, '--foreign-layers', 'keep'), { env });
    await airlift(['verify', bundle]);
    assert.deepEqual(storage.seen, []);
    await airlift(['import', bundle, '--to', `${site.host}/kept`]);
    sameContent((await walkRegistry(site.host, `kept/${repository}`, '1')).content, await walkImage(image));
  });

  test('rejected by a registry with default settings: at once, with a hint', async (t) => {
    const storage = await startStorage(t);
    const repository = await push(imageAt(dockerForeign, [`http://${storage.host}/layer`]));
    const bundle = join(temp(t), 'site.tar');
    await airlift(exporting(repository, bundle), { env });
    const strict = await startDockerRegistry({ layerUrls: false });
    t.after(() => strict.stop());
    const { stderr } = await airlift(['import', bundle, '--to', strict.host], { codes: [1] });
    assert.match(stderr, /manifest sha256:\w+: .*\(500 UNKNOWN\).*; the manifest has layers with urls\n/);
    assert.equal(strict.log().match(/err\.code":"unknown/gi)?.length ?? 0, 2, 'one answer, two lines of log');
    const [, setting = '', value = ''] = /hint: .*(REGISTRY_\w+)='([^']+)'.*--platform/.exec(stderr) ?? [];
    const lenient = await startDockerRegistry({ layerUrls: false, env: { [setting]: value } });
    t.after(() => lenient.stop());
    await airlift(['import', bundle, '--to', lenient.host]);
  });

  test('unavailable or with wrong content: an error with a hint', async (t) => {
    const storage = await startStorage(t);
    const bundle = join(temp(t), 'site.tar');
    const missingLayer = await push(imageAt(dockerForeign, [`http://${storage.host}/gone?sig=hidden-sig`]));
    const nowhere = await airlift(exporting(missingLayer, bundle), { env, codes: [1] });
    assert.match(
      nowhere.stderr,
      new RegExp(
        `${held.descriptor.digest} of \\S+: not in the registry, nor at the urls of its descriptor: fetch http://${storage.host}/gone\\?sig=\\*\\*\\*: blob not found \\(404\\)\\n` +
          ' {2}hint: to transfer the image without the content of such layers pass --foreign-layers keep\\n',
      ),
    );
    const wrong = await push(imageAt(dockerForeign, [`http://${storage.host}/wrong`]));
    const refused = await airlift(exporting(wrong, `${bundle}.2`), { env, codes: [1] });
    assert.match(refused.stderr, new RegExp(`${held.descriptor.digest}.*: .*wrong content`));
    const other = await push(imageAt(ociForeign, ['ftp://127.0.0.1/layer']));
    const unknown = await airlift(exporting(other, `${bundle}.3`), { env, codes: [1] });
    assert.match(
      unknown.stderr,
      /not in the registry, and its descriptor has no HTTP urls\n {2}hint: .*--foreign-layers keep/,
    );
  });
});
