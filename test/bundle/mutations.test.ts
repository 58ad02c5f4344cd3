import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, after, describe, test } from 'node:test';
import { BundleReader } from '../../src/bundle/reader.js';
import { AirliftError } from '../../src/errors.js';
import { verify } from '../../src/verify.js';
import { smallCargo } from '../fuzz/bundles.js';
import { entriesOf, isSameBundle, mutations, type Whole } from '../fuzz/mutations.js';
import { temp } from '../support/temp.js';
import { Dice } from '../torture/dice.js';
import { writeBundle } from './write-bundle.js';

/** Numbers of mutations: of each kind, and of the catalog, which has the most to change; 300 in total. */
const usually = 40;
const ofCatalog = 100;

/** Error codes of a file that is not an intact bundle. */
const refusals = ['damaged', 'input', 'unsupported'];

describe('a randomly changed bundle is rejected', () => {
  const dir = temp({ after });
  let whole: Whole;
  before(async () => {
    const path = join(dir, 'whole.tar');
    await writeBundle(path, smallCargo());
    const bytes = readFileSync(path);
    whole = { path, bytes, entries: entriesOf(bytes) };
    assert.deepEqual((await verify(path, { jobs: 1 })).problems, []);
  });

  async function isRefused(path: string): Promise<boolean> {
    try {
      return !(await verify(path, { jobs: 1 })).ok;
    } catch (error) {
      if (error instanceof AirliftError && refusals.includes(error.code)) return true;
      throw error;
    }
  }

  /** A reader of the file either opens it or rejects it with one of the same codes. */
  async function opens(path: string): Promise<void> {
    try {
      await (await BundleReader.open(path)).close();
    } catch (error) {
      if (!(error instanceof AirliftError && refusals.includes(error.code))) throw error;
    }
  }

  for (const [what, mutate] of Object.entries(mutations))
    test(what, async () => {
      const path = join(dir, 'changed.tar');
      const rounds = what.includes('catalog') ? ofCatalog : usually;
      let changes = 0;
      const failed: string[] = [];
      for (let round = 0; round < rounds; round++) {
        const seed = `${what} ${round}`;
        try {
          const bytes = mutate(new Dice(seed), whole, path);
          if (bytes.equals(whole.bytes)) continue;
          changes++;
          writeFileSync(path, bytes);
          assert.ok((await isRefused(path)) || isSameBundle(whole, bytes), 'verify finds nothing wrong');
          await opens(path);
        } catch (error) {
          failed.push(`seed ${JSON.stringify(seed)}: ${String(error)}`);
        }
      }
      assert.deepEqual(failed, []);
      assert.ok(changes > rounds / 2, `${changes} of ${rounds} change something`);
    });
});
