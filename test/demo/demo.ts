/**
 * Demonstrates airlift in seconds, with nothing but Node: one registry with images of three platforms, a bundle with two of the
 * platforms, and a second registry that receives them from that file. It prints every command as a user would type it.
 * With `--kit` the site is a root directory without Node, where a user without rights runs the kit of `npm run kit:local`.
 */
import { strict as assert } from 'node:assert';
import { cpSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inRoot, makeRoot, removeRoot } from '../kit/empty-root.js';
import { airlift, airliftPath } from '../support/airlift.js';
import { startDaemon, type Daemon } from '../support/daemon.js';
import { assortment, commonPlatforms, type NamedImage } from '../support/image-sets.js';
import { platformJson } from '../support/images.js';
import { pushImage } from '../support/push-image.js';
import { run } from '../support/peers.js';
import { sameContent, walkImage, walkRegistry, type Walk } from '../support/walk.js';
import { pullAsNode } from './node-pull.js';

const exportedPlatforms = ['linux/amd64', 'linux/arm64'];
const dir = mkdtempSync(join(tmpdir(), 'airlift-demo-'));
const servers: Daemon[] = [];

function printHeading(text: string): void {
  console.log(`\n# ${text}`);
}

/** Runs a command, and prints it with its output. */
async function runAirlift(...args: string[]): Promise<string> {
  console.log(`$ airlift ${args.join(' ')}`);
  const { stdout, stderr } = await airlift(args, { cwd: dir });
  process.stdout.write(stderr + stdout);
  return stdout;
}

const kitPath = fileURLToPath(new URL('../../kit-local/airlift', import.meta.url));
const usesKit = process.argv.includes('--kit');
const inKit = 'sh airlift/airlift';
/** Root directory of the site, with `--kit`. */
let root: string | undefined;

/** Copies the medium to a root directory that has nothing else. */
function makeSite(): string {
  if (!existsSync(kitPath)) throw new Error('no kit: run npm run kit:local');
  const made = makeRoot(kitPath);
  cpSync(join(dir, 'site.tar'), join(made, 'media', 'site.tar'));
  return made;
}

/** Runs a command at the site, and prints it with its output. */
async function runAtSite(...args: string[]): Promise<void> {
  if (root === undefined) return void (await runAirlift(...args));
  const script = `${inKit} ${args.join(' ')}`;
  console.log(`site$ ${script}`);
  const { stdout, stderr } = await run(...inRoot(root, `cd /media; ${script}`, { isOffline: false }), {});
  process.stdout.write(stderr + stdout);
}

/** Starts an embedded registry with `airlift serve` in the background. */
async function serve(store: string): Promise<string> {
  const args = ['serve', '--store', root === undefined ? store : `/tmp/${store}`, '--listen', '127.0.0.1:0'];
  console.log(`${root === undefined ? '$ airlift' : `site$ ${inKit}`} ${args.join(' ')} &`);
  const [command, words] =
    root === undefined
      ? [process.execPath, [airliftPath, ...args]]
      : inRoot(root, `cd /media; exec ${inKit} ${args.join(' ')}`, { isOffline: false });
  const server = await startDaemon(command, words, {
    cwd: dir,
    log: join(dir, `${store}.log`),
    ready: (log) => /http:\/\/(127\.0\.0\.1:\d+)/.exec(log)?.[1],
  });
  servers.push(server);
  console.log(`  listening on ${server.answer}`);
  return server.answer;
}

/** Returns the content of one platform's image: as the registry has it, and as it was built. */
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
      if (!exportedPlatforms.includes(platform)) {
        assert.equal(pulled, undefined, `${name} must not offer ${platform}`);
        console.log(`  ${name.padEnd(20)} was not exported for this platform`);
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

  printHeading(
    'A registry on the connected side, with three images for linux/amd64, linux/arm64 and linux/arm/v7',
  );
  const connected = await serve('connected');
  for (const { repository, tag, image } of images) await pushImage(connected, repository, tag, image);

  printHeading('A list of what the site needs');
  const list = images.map(({ repository, tag }) => `${connected}/${repository}:${tag}\n`).join('');
  writeFileSync(join(dir, 'images.txt'), list);
  process.stdout.write(`$ cat images.txt\n${list}`);

  printHeading('Export it for the two platforms that the site runs');
  await runAirlift(
    'export',
    '--images',
    'images.txt',
    '--platform',
    exportedPlatforms.join(','),
    '-o',
    'site.tar',
  );

  printHeading('What is in the bundle, and is it whole?');
  await runAirlift('inspect', 'site.tar');
  await runAirlift('verify', 'site.tar');

  printHeading('The connected registry is stopped; the site has a second, empty one');
  await servers.pop()?.stop();
  if (usesKit) root = makeSite();
  const site = await serve('site');
  if (root !== undefined) await runAtSite('verify', 'site.tar');
  await runAtSite('import', 'site.tar', '--to', site);

  printHeading('What nodes of each platform pull from the site');
  await showNodes(site, images);

  const megabytes = (statSync(join(dir, 'site.tar')).size / 1e6).toFixed(1);
  console.log(
    `\ndemo ok: ${images.length} images for ${exportedPlatforms.join(' and ')} were carried in one file of ${megabytes} MB, and every byte arrived.`,
  );
}

try {
  await demo();
} catch (error) {
  console.error(`\ndemo failed: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
} finally {
  for (const server of servers) await server.stop();
  if (root !== undefined) removeRoot(root);
  rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
}
