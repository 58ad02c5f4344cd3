import assert from 'node:assert/strict';
import test from 'node:test';
import { interruptible } from '../../src/cli/interrupt.js';

/** Runs work that never stops, and interrupts it. */
async function interruptStuckWork(options: Parameters<typeof interruptible>[1]): Promise<void> {
  // Keeps the process alive until the signal arrives.
  const working = setInterval(() => undefined, 60_000);
  const work = (): Promise<never> => {
    process.kill(process.pid, 'SIGINT');
    return new Promise(() => undefined);
  };
  await interruptible(work, { milliseconds: 1, ...options }).finally(() => clearInterval(working));
}

test('work that does not stop in time is named as it is when it stops by itself', async () => {
  await assert.rejects(interruptStuckWork({ doing: 'export to site.tar', hint: 'run it again to resume' }), {
    code: 'interrupted',
    message: 'export to site.tar: interrupted',
    hint: 'run it again to resume',
  });
  await assert.rejects(interruptStuckWork({}), {
    code: 'interrupted',
    message: 'airlift: interrupted',
    hint: 'run the same command again',
  });
});
