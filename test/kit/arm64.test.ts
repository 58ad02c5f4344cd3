import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { addApplication } from '../../src/kit/executable.js';
import { readKitFiles } from '../../src/kit/files.js';
import { airlift } from '../support/airlift.js';
import { testCache } from '../support/busybox.js';
import { assortment } from '../support/image-sets.js';
import { needs, run } from '../support/peers.js';
import { pushImage } from '../support/push-image.js';
import { serveStore } from '../support/serve-store.js';
import { temp } from '../support/temp.js';
import { sameContent, walkImage, walkRegistry } from '../support/walk.js';
import { needsRuntime, readLocalRuntime, runtimeOf } from './local-kit.js';

/** The C and C++ libraries of Debian for arm64. */
const libraries = join(testCache(), 'arm64');

function needsLibraries(): string | false {
  return existsSync(join(libraries, 'lib', 'ld-linux-aarch64.so.1'))
    ? false
    : `no libraries for arm64 in ${libraries} (.ci/run fetches them)`;
}

const skip = needsRuntime('linux/arm64') || needsLibraries() || needs('qemu-aarch64-static');

test('the executable for arm64 verifies and imports a bundle in an emulator', { skip }, async (t) => {
  const dir = temp(t);
  const program = join(dir, 'airlift');
  const { program: runtime } = await readLocalRuntime(runtimeOf('linux/arm64'));
  const { application, version } = await readKitFiles();
  writeFileSync(program, Buffer.concat(addApplication(runtime, application)), { mode: 0o755 });
  const emulated = (...args: string[]): Promise<{ stdout: string }> =>
    run('qemu-aarch64-static', ['-L', libraries, program, ...args], { cwd: dir });
  assert.equal((await emulated('--version')).stdout, `${version}\n`);

  const { web } = assortment();
  assert.ok(web);
  const [source, target] = [await serveStore(t), await serveStore(t)];
  await pushImage(source, web.repository, web.tag, web.image);
  const bundle = join(dir, 'site.tar');
  await airlift(['export', `${source}/${web.repository}:${web.tag}`, '-o', bundle, '-q']);
  assert.match(
    (await emulated('verify', 'site.tar', '-q')).stdout,
    /^verified site\.tar: .* nothing lost or changed\n/,
  );
  await emulated('import', 'site.tar', '--to', target, '-q');
  const { content } = await walkRegistry(target, web.repository, web.tag ?? '');
  sameContent(content, await walkImage(web.image));
});
