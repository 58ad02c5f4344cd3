import assert from 'node:assert/strict';
import { startDockerRegistry } from '../support/docker-registry.js';
import { startFaultProxy } from '../support/faults.js';
import { needs } from '../support/peers.js';
import { askRegistry } from '../support/registry-http.js';
import { serveStore } from '../support/serve-store.js';
import { startAirlift } from '../support/started.js';
import type { Cleanup } from '../support/temp.js';
import { sameContent, walkRegistry } from '../support/walk.js';
import type { Arena } from './arena.js';
import type { Dice } from './dice.js';
import { hasty, slowness, uploadFaults } from './faults.js';
import { stopSomewhere } from './kill.js';
import type { Tally } from './tally.js';

/** Asserts that each existing tag has its complete image. Returns the number of tags. */
async function checkTags(host: string, arena: Arena): Promise<number> {
  let tags = 0;
  for (const { repository, tag, walk } of arena.images) {
    const path = `/v2/${repository}/manifests/${tag}`;
    const accept = 'application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json';
    const { status } = await askRegistry(host, { method: 'HEAD', path, headers: { accept } });
    if (status === 404) continue;
    sameContent((await walkRegistry(host, repository, tag)).content, walk);
    tags++;
  }
  return tags;
}

/** Asserts that every image is complete, tagged or not. */
async function checkAll(host: string, arena: Arena): Promise<void> {
  for (const { repository, root, walk } of arena.images)
    sameContent((await walkRegistry(host, repository, root)).content, walk);
}

/** Stops an import or a copy several times, and reruns it until all images are published. */
export async function importRound(t: Cleanup, arena: Arena, dice: Dice, tally: Tally): Promise<void> {
  const verb = dice.pick(['import', 'import', 'copy']);
  const isReal = needs('docker-registry') === false && dice.isLucky(0.5);
  const registry = isReal ? await startDockerRegistry() : undefined;
  if (registry !== undefined) t.after(() => registry.stop());
  const host = registry?.host ?? (await serveStore(t));
  const proxy = await startFaultProxy({ upstream: `http://${host}`, seed: dice.seed });
  t.after(() => proxy.stop());
  const transfers = dice.pick([1, 2, 4, 8]);
  const sources = verb === 'copy' ? arena.references : [arena.bundle];
  const command = [verb, ...sources, '--to', proxy.host, '-j', String(transfers)];
  if (dice.isLucky(0.4)) command.push('--chunk-size', dice.pick(['64k', '1M']));
  const isAtomic = dice.isLucky(0.3);
  if (isAtomic) command.push('--atomic');
  let stops = 0;
  for (let left = dice.between(1, 3); left > 0; left--) {
    proxy.heal();
    proxy.use(slowness(dice), ...uploadFaults(dice));
    if (verb === 'copy') arena.proxy.use(slowness(dice));
    const run = startAirlift([...command, ...hasty, '--retries', dice.pick(['1', '3'])]);
    const { stop, ended } = await stopSomewhere(run, proxy.log, arena.usual, dice);
    const { code, signal, stderr } = ended;
    assert.ok(code === 0 || code === 1 || code === 130 || signal !== null, `ended with ${code}: ${stderr}`);
    assert.ok(!/\n\s+at /.test(stderr), stderr);
    stops++;
    tally.count(`${verb}: ${stop} sent`);
    tally.count(`${verb}: ended with ${code ?? signal}`);
    const tags = await checkTags(host, arena);
    tally.count('tags checked between runs, all complete', tags);
    if (isAtomic && tags > 0) await checkAll(host, arena);
  }
  proxy.heal();
  arena.proxy.heal();
  const { code, stderr } = await startAirlift(command).ended;
  assert.equal(code, 0, stderr);
  tally.count(`${verb}: reruns to the end`);
  assert.equal(await checkTags(host, arena), arena.images.length);
  const content = [...new Map(arena.images.flatMap(({ walk }) => [...walk])).values()];
  const total = content.reduce((sum, found) => sum + (found === 'absent' ? 0 : found.size), 0);
  const sent = proxy.log.received(/\/blobs\/uploads\//);
  // After faults a run sends a blob again; without faults, a stop costs only the blobs in flight.
  const inFlight = stops * transfers * (arena.largest + 10_000);
  const faulty = proxy.log.requests.filter(({ faults }) => faults.some((name) => name !== 'slow')).length;
  if (faulty === 0) assert.ok(sent <= total + inFlight, `sent ${sent} of ${total}`);
  tally.countRepeatedBytes(faulty === 0 ? verb : `${verb} with faults`, Math.max(0, sent - total));
  arena.proxy.log.clear();
}
