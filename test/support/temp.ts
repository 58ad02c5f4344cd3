import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Registers clean-up functions: a TestContext, or `{ after }` of node:test for a whole suite or file. */
export interface Cleanup {
  after(work: () => Promise<void> | void): void;
}

/** Creates a temporary directory, which is removed after the test. */
export function temp(t: Cleanup): string {
  const dir = mkdtempSync(join(tmpdir(), 'airlift-test-'));
  t.after(() => rm(dir, { recursive: true, force: true, maxRetries: 5 }));
  return dir;
}
