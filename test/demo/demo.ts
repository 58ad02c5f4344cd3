/**
 * The whole way once, in seconds, with nothing but Node: images of three platforms in one registry, a bundle with two of them, and
 * a second registry that gets them from that file alone. Every command is shown as a person would type it.
 */
import { strict as assert } from 'node:assert';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { airlift, airliftPath } from '../support/airlift.js';
import { startDaemon, type Daemon } from '../support/daemon.js';
import { assortment, commonPlatforms, type NamedImage } from '../support/image-sets.js';
import { platformJson } from '../support/images.js';
import { pushImage } from '../support/push-image.js';
import { sameContent, walkImage, walkRegistry, type Walk } from '../support/walk.js';
import { pullAsNode } from './node-pull.js';

const carried = ['linux/amd64', 'linux/arm64'];
const dir = mkdtempSync(join(tmpdir(), 'airlift-demo-'));
const servers: Daemon[] = [];

function say(text: string): void {
  console.log(`\n# ${text}`);
}

/** Runs a command and shows it with what it printed. */
async function type(...args: string[]): Promise<string> {
  console.log(`$ airlift ${args.join(' ')}`);
  const { stdout, stderr } = await airlift(args, { cwd: dir });
  process.stdout.write(stderr + stdout);
  return stdout;
}

/** Starts an embedded registry, as `airlift serve` in a terminal of its own. */
async function serve(store: string): Promise<string> {
  const args = ['serve', '--store', store, '--listen', '127.0.0.1:0'];
  console.log(`$ airlift ${args.join(' ')} &`);
  const server = await startDaemon(process.execPath, [airliftPath, ...args], {
    cwd: dir,
    log: join(dir, `${store}.log`),
    ready: (log) => /http:\/\/(127\.0\.0\.1:\d+)/.exec(log)?.[1],
  });
  servers.push(server);
  console.log(`  listening on ${server.answer}`);
  return server.answer;
}

/** What of an image the bundle is to carry: the children of the platforms asked for. */
async function contentOf(named: NamedImage, host: string, digest: string): Promise<[got: Walk, want: Walk]> {
  const root = named.image.manifests.get(digest as NamedImage['image']['root']['digest']);
  assert.ok(root, `${digest} is not an image that was pushed`);
  const { mediaType, size } = root;
  const want = await walkImage({ ...named.image, root: { mediaType, digest: root.digest, size } });
  return [(await walkRegistry(host, named.repository, digest)).content, want];
}

async function showNodes(host: string, images: readonly NamedImage[]): Promise<void> {
  for (const platform of commonPlatforms) {
    console.log(`a node of ${platform}:`);
    for (const named of images) {
      const name = `${named.repository}:${named.tag}`;
      const pulled = await pullAsNode(host, named.repository, named.tag ?? '', platform);
      if (!carried.includes(platform)) {
        assert.equal(pulled, undefined, `${name} must not offer ${platform}`);
        console.log(`  ${name.padEnd(20)} has no image for it, as asked`);
        continue;
      }
      assert.ok(pulled, `${name} must offer ${platform}`);
      assert.deepEqual(pulled.platform, { ...platformJson(platform) }, `platform of ${name}`);
      assert.ok(pulled.program.endsWith(` for ${platform}`), `program of ${name}: ${pulled.program}`);
      const [got, want] = await contentOf(named, host, pulled.digest);
      sameContent(got, want);
      console.log(`  ${name.padEnd(20)} ${pulled.digest.slice(0, 19)}…  "${pulled.program}"`);
    }
  }
}

async function demo(): Promise<void> {
  const { web, pause, tools } = assortment();
  assert.ok(web && pause && tools);
  const images = [web, pause, tools];

  say('A registry on the connected side, with three images for linux/amd64, linux/arm64 and linux/arm/v7');
  const connected = await serve('connected');
  for (const { repository, tag, image } of images) await pushImage(connected, repository, tag, image);

  say('A list of what the site needs');
  const list = images.map(({ repository, tag }) => `${connected}/${repository}:${tag}\n`).join('');
  writeFileSync(join(dir, 'images.txt'), list);
  process.stdout.write(`$ cat images.txt\n${list}`);

  say('Export it for the two platforms that the site runs');
  await type('export', '--images', 'images.txt', '--platform', carried.join(','), '-o', 'site.tar');

  say('What is in the bundle, and is it whole?');
  await type('inspect', 'site.tar');
  await type('verify', 'site.tar');

  say('The connected registry is gone; a second, empty one stands at the site');
  await servers.pop()?.stop();
  const site = await serve('site');
  await type('import', 'site.tar', '--to', site);

  say('What the nodes of the site would pull from it');
  await showNodes(site, images);

  const megabytes = (statSync(join(dir, 'site.tar')).size / 1e6).toFixed(1);
  console.log(
    `\ndemo ok: ${images.length} images for ${carried.join(' and ')} crossed in one file of ${megabytes} MB, and every byte arrived.`,
  );
}

try {
  await demo();
} catch (error) {
  console.error(`\ndemo failed: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
} finally {
  for (const server of servers) await server.stop();
  rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
}
