import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { airlift } from '../support/airlift.js';
import { startDockerRegistry } from '../support/docker-registry.js';
import { startFaultProxy } from '../support/faults.js';
import { multiPlatform, singlePlatform } from '../support/image-sets.js';
import { needs, run } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { askRegistry } from '../support/registry-http.js';
import { serveStore } from '../support/serve-store.js';
import { temp } from '../support/temp.js';
import { sameContent, walkImage, walkRegistry } from '../support/walk.js';

const catalogOf = async (host: string): Promise<unknown> =>
  JSON.parse((await askRegistry(host, { method: 'GET', path: '/v2/_catalog' })).body.toString());

test('copy --dry-run prints the names at the site and sends no write request', async (t) => {
  const [source, target] = [await serveStore(t), await serveStore(t)];
  const app = multiPlatform({ name: 'app' });
  await pushImage(source, 'acme/app', '1', app);
  const proxy = await startFaultProxy({ upstream: `http://${target}` });
  t.after(() => proxy.stop());
  const copy = ['copy', `${source}/acme/app:1`, '--to', `${proxy.host}/team`, '--dry-run'];
  const { stdout } = await airlift(copy);
  assert.match(stdout, new RegExp(`${source}/acme/app:1 +${proxy.host}/team/acme/app:1 +${app.root.digest}`));
  const { stdout: json } = await airlift([...copy, '--json']);
  assert.deepEqual(JSON.parse(json), [
    {
      source: `${source}/acme/app:1`,
      site: `${proxy.host}/team/acme/app:1`,
      digest: app.root.digest,
    },
  ]);
  const writes = proxy.log.requests.filter(({ method }) => method !== 'GET' && method !== 'HEAD');
  assert.deepEqual(writes, []);
  assert.deepEqual(await catalogOf(target), { repositories: [] });
});

test('copy --keep-going --failed writes a list with which a second run copies the failed images', async (t) => {
  const [source, target] = [await serveStore(t), await serveStore(t)];
  const dir = temp(t);
  const names = ['one', 'two', 'three'];
  const images = names.map((name) => singlePlatform('linux/amd64', { name }));
  for (const [at, image] of images.entries()) await pushImage(source, `acme/${names[at]}`, '1', image);
  const list = join(dir, 'list.txt');
  const failed = join(dir, 'failed.txt');
  writeFileSync(list, `${names.map((name) => `${source}/acme/${name}:1`).join('\n')}\n`);
  const proxy = await startFaultProxy({ upstream: `http://${target}` });
  t.after(() => proxy.stop());
  proxy.use({
    fault: { do: 'answer', status: 403, headers: {}, body: '{}' },
    method: 'PUT',
    path: /\/acme\/two\/manifests\/1$/,
  });
  const copy = (images: string): string[] => [
    'copy',
    ...['--images', images, '--to', proxy.host, '--failed', failed],
  ];
  const first = await airlift([...copy(list), '--keep-going'], { codes: [3] });
  assert.match(first.stdout, /failed: .*acme\/two:1: .*denied/);
  assert.match(first.stderr, /^Progress: 2\/3 /m);
  const written = readFileSync(failed, 'utf8');
  assert.deepEqual(
    written
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => line.split(' ')[0]),
    [`${source}/acme/two:1`],
  );
  proxy.heal();
  proxy.log.clear();
  const rerun = join(dir, 'rerun.txt');
  writeFileSync(rerun, written);
  const second = await airlift([...copy(rerun), '--json']);
  const done = JSON.parse(second.stdout.trimEnd().split('\n').at(-1) ?? '') as Record<string, unknown>;
  assert.deepEqual([done['images'], done['uploadedBlobs'], done['failed']], [1, 0, []]);
  assert.ok(!readFileSync(failed, 'utf8').includes('acme/two'), 'nothing failed any more');
  for (const [at, image] of images.entries())
    sameContent((await walkRegistry(target, `acme/${names[at]}`, '1')).content, await walkImage(image));
});

test(
  'copy between registries with different users: --src-creds and --dest-creds',
  { skip: needs('docker-registry', 'htpasswd', 'skopeo') },
  async (t) => {
    const [reader, writer] = [
      { user: 'reader', password: 'lesen-7' },
      { user: 'writer', password: 'schreiben-8' },
    ];
    const source = await startDockerRegistry({ htpasswd: reader });
    t.after(() => source.stop());
    const target = await startDockerRegistry({ htpasswd: writer });
    t.after(() => target.stop());
    await pushImage(source.host, 'acme/app', '1', multiPlatform({ name: 'app' }), reader);
    const copy = ['copy', `${source.host}/acme/app:1`, '--to', target.host, '--json'];
    const creds = ['--src-creds', 'reader:lesen-7', '--dest-creds', 'writer:schreiben-8'];
    const { stdout, stderr } = await airlift([...copy, ...creds]);
    assert.ok(!/lesen-7|schreiben-8/.test(stdout + stderr));
    const inspect = ['inspect', '--raw', '--tls-verify=false', '--creds', 'writer:schreiben-8'];
    const raw = await run('skopeo', [...inspect, `docker://${target.host}/acme/app:1`]);
    const { manifests } = JSON.parse(raw.stdout) as { manifests: unknown[] };
    assert.equal(manifests.length, 3);
    const swapped = ['--src-creds', 'writer:schreiben-8', '--dest-creds', 'reader:lesen-7'];
    const refused = await airlift([...copy, ...swapped], { codes: [1] });
    assert.match(refused.stderr, /unauthorized \(401\)/);
    assert.ok(!/lesen-7|schreiben-8/.test(refused.stdout + refused.stderr));
  },
);

test('copy --on-existing-tag merge keeps the platforms that only the site has', async (t) => {
  const [source, target] = [await serveStore(t), await serveStore(t)];
  const app = multiPlatform({ name: 'app' });
  await pushImage(source, 'acme/app', '1', app);
  const copy = ['copy', `${source}/acme/app:1`, '--to', target, '--index', 'filtered'];
  await airlift([...copy, '--platform', 'linux/arm64']);
  await airlift([...copy, '--platform', 'linux/amd64', '--on-existing-tag', 'merge']);
  const answer = await askRegistry(target, {
    method: 'GET',
    path: '/v2/acme/app/manifests/1',
    headers: { accept: 'application/vnd.oci.image.index.v1+json' },
  });
  const { manifests } = JSON.parse(answer.body.toString()) as {
    manifests: { platform: { architecture: string } }[];
  };
  assert.deepEqual(manifests.map(({ platform }) => platform.architecture).sort(), ['amd64', 'arm64']);
  await walkRegistry(target, 'acme/app', '1');
});
