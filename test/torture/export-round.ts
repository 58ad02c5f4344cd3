import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { airlift } from '../support/airlift.js';
import { startAirlift, type Ended } from '../support/started.js';
import { temp, type Cleanup } from '../support/temp.js';
import { env, type Arena } from './arena.js';
import { damage } from './damage.js';
import type { Dice } from './dice.js';
import { downloadFaults, hasty, slowness } from './faults.js';
import { stopSomewhere } from './kill.js';
import type { Tally } from './tally.js';

/** Bytes that a killed process has written without a checkpoint: at most this many, and a mebibyte per transfer in flight. */
const unmarked = 8 * 1024 * 1024;
const unreported = 1024 * 1024;

/** Returns the number of bytes that are missing from an unfinished bundle or differ from the undisturbed one. */
function missingOf(output: string, whole: Buffer): number {
  if (existsSync(output)) return 0;
  const partial = `${output}.partial`;
  if (!existsSync(partial)) return whole.length;
  const written = readFileSync(partial);
  const step = 4096;
  let missing = 0;
  for (let at = 0; at < whole.length; at += step) {
    const want = whole.subarray(at, at + step);
    if (!written.subarray(at, at + want.length).equals(want)) missing += want.length;
  }
  return missing;
}

function checkEnd({ code, signal, stderr }: Ended): void {
  assert.ok(code === 0 || code === 1 || code === 130 || signal !== null, `ended with ${code}: ${stderr}`);
  // An unexpected error would print a stack.
  assert.ok(!/\n\s+at /.test(stderr), stderr);
  if (code === 1) assert.match(stderr, /^[a-z].*: /m, 'the error is reported');
}

/** Stops one export several times in different ways, and resumes it until it is complete. */
export async function exportRound(t: Cleanup, arena: Arena, dice: Dice, tally: Tally): Promise<void> {
  const { proxy, bytes, largest } = arena;
  const output = join(temp(t), 'site.tar');
  const transfers = dice.pick([2, 4, 8]);
  const command = ['export', ...arena.references, '-o', output, '-j', String(transfers)];
  let isDamaged = false;
  /** A registry that fails as often as it is retried loses signatures and referrers, with a warning, and the plan stays without them. */
  let mayLackReferrers = false;
  for (let left = dice.between(1, 3); left > 0 && !existsSync(output); left--) {
    proxy.heal();
    proxy.use(slowness(dice), ...downloadFaults(dice));
    const run = startAirlift([...command, ...hasty, '--retries', dice.pick(['1', '3'])], { env });
    const { stop, ended } = await stopSomewhere(run, proxy.log, arena.usual, dice);
    checkEnd(ended);
    mayLackReferrers ||= ended.stderr.includes('warning: left out ');
    tally.count(`export: ${stop} sent`);
    tally.count(`export: ended with ${ended.code ?? ended.signal}`);
    if (!existsSync(output) && dice.isLucky(0.5)) {
      const damaged = damage(output, dice);
      isDamaged ||= damaged !== undefined;
      if (damaged !== undefined) tally.count(`export: ${damaged}`);
    }
  }
  proxy.heal();
  const missing = missingOf(output, bytes);
  if (!existsSync(output)) {
    proxy.log.clear();
    const { code, stderr } = await startAirlift(command, { env }).ended;
    assert.equal(code, 0, stderr);
    tally.count('export: reruns to the end');
    const fetched = [...proxy.log.served().values()].reduce((sum, { sent }) => sum + sent, 0);
    const inFlight = unmarked + transfers * unreported;
    // In damaged files only verified bytes are kept: all bytes behind the damage may be downloaded again.
    if (!isDamaged) assert.ok(fetched <= missing + inFlight, `fetched ${fetched}, missing ${missing}`);
    tally.countRepeatedBytes(
      isDamaged ? 'export with damaged files' : 'export',
      Math.max(0, fetched - missing),
    );
  }
  proxy.log.clear();
  if (mayLackReferrers) {
    tally.count('export: left out with a warning');
    await airlift(['verify', output]);
  } else assert.ok(readFileSync(output).equals(bytes), 'byte-identical to an undisturbed bundle');
  assert.deepEqual(readdirSync(dirname(output)), ['site.tar'], 'no other file is left');
  assert.ok(largest > 0);
  rmSync(output);
}
