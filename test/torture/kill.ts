import { setTimeout as sleep } from 'node:timers/promises';
import type { FaultLog } from '../support/fault-log.js';
import type { Ended, Started } from '../support/started.js';
import type { Dice } from './dice.js';
import { until } from '../support/until.js';

/** How a run is stopped; `pause` suspends and continues it, like a laptop that is closed and opened. */
export type Stop = 'SIGKILL' | 'SIGINT' | 'SIGTERM' | 'pause';

const moved = (log: FaultLog): number =>
  log.requests.reduce((sum, { sent, received }) => sum + sent + received, 0);

/**
 * Stops a run at a random point in time, or after a random number of requests or bytes.
 * @param usual cost of an undisturbed run
 */
export async function stopSomewhere(
  run: Started,
  log: FaultLog,
  usual: { readonly milliseconds: number; readonly requests: number; readonly bytes: number },
  dice: Dice,
): Promise<{ stop: Stop; ended: Ended }> {
  const stop = dice.pick<Stop>(['SIGKILL', 'SIGKILL', 'SIGKILL', 'SIGINT', 'SIGTERM', 'pause']);
  const by = dice.pick(['time', 'requests', 'bytes', 'bytes', 'bytes']);
  const [requests, bytes] = [log.requests.length, moved(log)];
  const share = dice.roll();
  let isOver = false;
  const ended = run.ended.finally(() => (isOver = true));
  const latest = Date.now() + share * usual.milliseconds * 1.2;
  const isReached = (): boolean =>
    by === 'time'
      ? Date.now() >= latest
      : by === 'requests'
        ? log.requests.length - requests >= share * usual.requests
        : moved(log) - bytes >= share * usual.bytes;
  await until('the point to stop at is reached', () => isOver || isReached(), 300_000);
  if (stop === 'pause') {
    run.send('SIGSTOP');
    // The test needs a real pause: the process is suspended while the rest of the system continues.
    await sleep(dice.between(50, 900));
    run.send('SIGCONT');
  } else run.send(stop);
  return { stop, ended: await ended };
}
