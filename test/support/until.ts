import { setTimeout as pause } from 'node:timers/promises';

/**
 * Waits until `isDone` returns true.
 * @param what description of the condition, for the error
 * @param milliseconds maximum wait (default: a minute, because a busy machine may take that long)
 * @throws Error if the condition is still false after that time
 */
export async function until(
  what: string,
  isDone: () => boolean | Promise<boolean>,
  milliseconds = 60_000,
): Promise<void> {
  const deadline = performance.now() + milliseconds;
  while (!(await isDone())) {
    if (performance.now() > deadline) throw new Error(`${what}: not within ${milliseconds} ms`);
    await pause(3);
  }
}
