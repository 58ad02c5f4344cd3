import { setTimeout as pause } from 'node:timers/promises';

/**
 * Waits until something is so, and fails where it is not in time.
 * @param what is waited for, for the error
 * @param milliseconds to wait at most; default: a minute, which a busy machine needs for what takes a second elsewhere
 */
export async function until(
  what: string,
  isSo: () => boolean | Promise<boolean>,
  milliseconds = 60_000,
): Promise<void> {
  const deadline = performance.now() + milliseconds;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`${what}: not within ${milliseconds} ms`);
    await pause(3);
  }
}
