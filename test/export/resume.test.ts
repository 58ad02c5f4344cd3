import assert from 'node:assert/strict';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test, type TestContext } from 'node:test';
import { openDatabase } from '../../src/bundle/format/sqlite.js';
import { serve, type Serving } from '../../src/serve/serve.js';
import { airlift } from '../support/airlift.js';
import { failing, startFaultProxy, type FaultProxy, type Rule } from '../support/faults.js';
import { singlePlatform, multiPlatform, type NamedImage } from '../support/image-sets.js';
import { pushImage } from '../support/push-image.js';
import { startAirlift, type Ended } from '../support/started.js';
import { temp } from '../support/temp.js';
import { until } from '../support/until.js';

const env = { SOURCE_DATE_EPOCH: '1700000000' };
/** Bytes that may be in flight: eight transfers, each with the bytes since its last checkpoint and the bytes in sockets. */
const inFlight = 8 * 2 * 1024 * 1024;
const layerBytes = 4_000_000;

const slow: Rule = { fault: { do: 'slow', bytes: 65_536, every: 12 }, method: 'GET', path: /\/blobs\// };

describe('a stopped export resumes', () => {
  const images: NamedImage[] = ['one', 'two', 'three'].map((name) => ({
    repository: `acme/${name}`,
    tag: '1',
    image: multiPlatform({ name, bigBytes: layerBytes }),
  }));
  let registry: Serving;
  let proxy: FaultProxy;
  const scratch: { after: (() => Promise<void> | void)[] } = { after: [] };

  before(async () => {
    const store = join(temp({ after: (work) => void scratch.after.push(work) }), 'store');
    registry = await serve({ store }, { port: 0 });
    proxy = await startFaultProxy({ upstream: registry.url });
    for (const { repository, tag, image } of images)
      await pushImage(`${registry.host}:${registry.port}`, repository, tag, image);
  });
  after(async () => {
    await proxy?.stop();
    await registry?.close();
    for (const work of scratch.after) await work();
  });

  const push = (repository: string, tag: string, image: NamedImage['image']): Promise<void> =>
    pushImage(`${registry.host}:${registry.port}`, repository, tag, image);
  const names = (...repositories: string[]): string[] =>
    repositories.map((name) => `${proxy.host}/acme/${name}:1`);
  const commandOf = (output: string, ...more: string[]): string[] => [
    'export',
    ...names('one', 'two', 'three'),
    '-o',
    output,
    '--no-referrers',
    ...more,
  ];

  let whole: Promise<Buffer> | undefined;
  /** The bytes of an undisturbed run of the usual command. */
  async function undisturbed(t: TestContext): Promise<Buffer> {
    whole ??= undisturbedOf(t, names('one', 'two', 'three'));
    await whole;
    proxy.heal();
    proxy.log.clear();
    return whole;
  }

  async function undisturbedOf(t: TestContext, args: readonly string[]): Promise<Buffer> {
    proxy.heal();
    const output = join(temp(t), 'whole.tar');
    await airlift(['export', ...args, '-o', output, '--no-referrers'], { env });
    proxy.log.clear();
    return readFileSync(output);
  }

  const sentBytes = (): number => proxy.log.find('GET', /\/blobs\//).reduce((sum, { sent }) => sum + sent, 0);

  /** Waits until this many bytes of blobs have passed the proxy. */
  async function passed(bytes: number): Promise<void> {
    await until(`${bytes} bytes of blobs pass`, () => sentBytes() >= bytes, 120_000);
  }

  /** Runs the same command again, undisturbed, and checks its result and the bytes that it downloads. */
  async function resumeAndCheck(
    output: string,
    want: Buffer,
    repeatedBytes = inFlight,
  ): Promise<Ended['stderr']> {
    proxy.heal();
    const { stderr } = await airlift(commandOf(output), { env });
    assert.ok(readFileSync(output).equals(want), 'byte-identical');
    assert.deepEqual(readdirSync(join(output, '..')), ['site.tar']);
    assert.ok(proxy.log.sentAgain() <= repeatedBytes, `sent again: ${proxy.log.sentAgain()}`);
    return stderr;
  }

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    test(`${signal} keeps what is written, tells how to resume, and ends with 130`, async (t) => {
      const want = await undisturbed(t);
      const output = join(temp(t), 'site.tar');
      proxy.use(slow);
      const run = startAirlift(commandOf(output), { env });
      await passed(8_000_000);
      run.send(signal);
      const { code, stderr } = await run.ended;
      assert.equal(code, 130, stderr);
      assert.match(stderr, /export to .*site\.tar: interrupted\n {2}hint: run the same command again/);
      assert.ok(!existsSync(output));
      // Everything written is recorded: only the bytes in sockets are downloaded again.
      const resumed = await resumeAndCheck(output, want, 6 * 1024 * 1024);
      assert.match(resumed, /kept from an earlier run/);
    });
  }

  test('the second Ctrl-C ends the export at once, and it can be resumed', async (t) => {
    const want = await undisturbed(t);
    const output = join(temp(t), 'site.tar');
    proxy.use(slow);
    const run = startAirlift(commandOf(output), { env });
    await passed(8_000_000);
    run.send('SIGINT');
    // Two signals at the same time reach a process as one.
    await until('the first signal is noticed', () => run.stderr().includes('press Ctrl-C again'));
    run.send('SIGINT');
    assert.equal((await run.ended).code, 130);
    await resumeAndCheck(output, want);
  });

  test('after kill -9 with a server without ranges, unfinished blobs start over', async (t) => {
    const want = await undisturbed(t);
    const output = join(temp(t), 'site.tar');
    proxy.use(slow);
    const run = startAirlift(commandOf(output, '-j', '2'), { env });
    await passed(22_000_000);
    run.send('SIGKILL');
    await run.ended;
    proxy.heal();
    proxy.use({ fault: { do: 'no-range' } });
    await airlift(commandOf(output), { env });
    assert.ok(readFileSync(output).equals(want));
    // Two blobs were in flight, and another may have been completed after its last checkpoint.
    assert.ok(proxy.log.sentAgain() <= 3 * (layerBytes + 10_000), `${proxy.log.sentAgain()}`);
  });

  test('only the bytes that a power cut destroyed at the end of blobs are downloaded again', async (t) => {
    const want = await undisturbed(t);
    const output = join(temp(t), 'site.tar');
    proxy.use(slow);
    const run = startAirlift(commandOf(output, '-j', '2'), { env });
    await passed(20_000_000);
    run.send('SIGKILL');
    await run.ended;
    const journal = openDatabase(`${output}.partial.journal`);
    const marks = journal.prepare('SELECT position, have FROM marks WHERE have > 1000000').all() as {
      position: number;
      have: number;
    }[];
    journal.close();
    assert.ok(marks.length >= 4);
    const destroyed = 300_000;
    const file = openSync(`${output}.partial`, 'r+');
    for (const { position, have } of marks)
      writeSync(file, Buffer.alloc(destroyed), 0, destroyed, position + have - destroyed);
    closeSync(file);
    // For each blob at most the destroyed bytes and the bytes behind its last intact checkpoint; for two also the bytes in flight.
    await resumeAndCheck(output, want, marks.length * (destroyed + 1_500_000) + 2 * 1_500_000);
    assert.ok(proxy.log.sentAgain() >= marks.length * destroyed);
  });

  test('a second run with the same output is rejected with the name of the first', async (t) => {
    const want = await undisturbed(t);
    const output = join(temp(t), 'site.tar');
    // The first run cannot end before the second one starts, however slow the machine is.
    proxy.use({ fault: { do: 'stall', after: 500_000 }, method: 'GET', path: /\/blobs\// });
    const run = startAirlift(commandOf(output), { env });
    await passed(1_000_000);
    const second = await airlift(commandOf(output), { env, codes: [1] });
    assert.match(second.stderr, new RegExp(`site\\.tar: process ${run.pid} on .* is writing it`));
    run.send('SIGKILL');
    await run.ended;
    await resumeAndCheck(output, want);
  });

  test('content fetched by a killed planning run is not fetched again', async (t) => {
    const want = await undisturbed(t);
    const output = join(temp(t), 'site.tar');
    // The third image gets no response; the other two are planned in the meantime.
    proxy.use({ fault: { do: 'stall', after: 0 }, path: /acme\/three\/manifests/ });
    const run = startAirlift(commandOf(output), { env });
    await until('two images are planned', () => run.stderr().includes('2/3'));
    run.send('SIGTERM');
    assert.equal((await run.ended).code, 130);
    assert.deepEqual(readdirSync(join(output, '..')), ['site.tar.partial.journal']);
    await resumeAndCheck(output, want, 0);
  });

  test('the plan stays pinned while tags move; --refresh resolves them again', async (t) => {
    const moved = singlePlatform('linux/amd64', { name: 'moved', bigBytes: 2_000_000 });
    await push('acme/moving', '1', singlePlatform('linux/amd64', { name: 'first', bigBytes: 2_000_000 }));
    const list = names('one', 'two', 'moving');
    const want = await undisturbedOf(t, list);
    const interruptExport = async (): Promise<string> => {
      const output = join(temp(t), 'site.tar');
      proxy.heal();
      proxy.log.clear();
      proxy.use(slow);
      const run = startAirlift(['export', ...list, '-o', output, '--no-referrers'], { env });
      await passed(12_000_000);
      run.send('SIGKILL');
      await run.ended;
      proxy.heal();
      return output;
    };
    const [pinned, refreshed] = [await interruptExport(), await interruptExport()];
    await push('acme/moving', '1', moved);
    await airlift(['export', ...list, '-o', pinned, '--no-referrers'], { env });
    assert.ok(readFileSync(pinned).equals(want), 'the image that the tag had when the export was planned');

    proxy.log.clear();
    await airlift(['export', ...list, '-o', refreshed, '--no-referrers', '--refresh'], { env });
    assert.ok(sentBytes() < 24_000_000 - 12_000_000 + 2_000_000 + 12_000_000, `fetched ${sentBytes()}`);
    assert.ok(readFileSync(refreshed).equals(await undisturbedOf(t, list)), 'the image that the tag has now');
  });

  test('a network outage ends the run with a hint, and the next run resumes', async (t) => {
    const want = await undisturbed(t);
    const output = join(temp(t), 'site.tar');
    proxy.use(slow);
    const run = startAirlift(commandOf(output, '--retries', '2', '--retry-delay', '10ms'), { env });
    await passed(8_000_000);
    proxy.down();
    const { code, stderr } = await run.ended;
    proxy.up();
    assert.equal(code, 1);
    assert.match(stderr, /connection .*\n {2}hint: run the same command again to resume/);
    await resumeAndCheck(output, want);
  });

  test('stalled connections are closed and resumed', async (t) => {
    const want = await undisturbed(t);
    const output = join(temp(t), 'site.tar');
    proxy.use({ fault: { do: 'stall', after: 'random' }, path: /\/blobs\//, method: 'GET', times: 3 });
    await airlift(commandOf(output, '--idle-timeout', '1s'), { env });
    assert.ok(readFileSync(output).equals(want));
    assert.ok(proxy.log.sentAgain() <= 3 * 1024 * 1024, `sent again: ${proxy.log.sentAgain()}`);
  });

  test('--keep-going leaves out images that fail, and reports them again after an interruption', async (t) => {
    const output = join(temp(t), 'site.tar');
    const list = [...names('one', 'two', 'three'), `${proxy.host}/acme/none:1`];
    const args = ['export', ...list, '-o', output, '--no-referrers', '--keep-going', '--json'];
    const want = await undisturbedOf(t, names('one', 'three'));
    const [, two] = images;
    const lost = [...(two?.image.blobs.values() ?? [])].find(({ size }) => size > layerBytes);
    assert.ok(lost !== undefined);
    const missingBlob: Rule = { fault: failing(404), path: new RegExp(`/blobs/${lost.digest}`) };
    proxy.use(slow, missingBlob);
    const run = startAirlift(args, { env });
    await passed(8_000_000);
    run.send('SIGKILL');
    await run.ended;
    proxy.heal();
    proxy.use(missingBlob);
    const { stdout } = await airlift(args, { env, codes: [3] });
    const summary = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as {
      images: number;
      failed: { image: string; error: { code: string; message: string } }[];
    };
    assert.equal(summary.images, 2);
    assert.deepEqual(
      summary.failed.map(({ image, error }) => [image, error.code]),
      [
        [`${proxy.host}/acme/none:1`, 'not-found'],
        [`${proxy.host}/acme/two:1`, 'not-found'],
      ],
    );
    assert.ok(readFileSync(output).equals(want), 'the bundle of the two that are left');
  });
});
