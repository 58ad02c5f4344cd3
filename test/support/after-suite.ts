import { after } from 'node:test';
import type { Cleanup } from './temp.js';

/** Collects clean-up functions to run after all tests of a suite, last first. Call it in the suite: `after` in a `before` runs at its end. */
export function afterSuite(): Cleanup {
  const works: (() => Promise<void> | void)[] = [];
  after(async () => {
    for (const work of works) await work();
  });
  return { after: (work) => void works.unshift(work) };
}
