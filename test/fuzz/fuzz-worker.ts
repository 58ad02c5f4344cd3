/** Plays the cases of `npm run fuzz` in a thread, so that a hang does not stop the program that watches it. */
import { createHash, generateKeyPairSync } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { BundleReader } from '../../src/bundle/reader.js';
import { parseVolumeList } from '../../src/bundle/format/volumes/list.js';
import { AirliftError } from '../../src/errors.js';
import { formatMinisig } from '../../src/signing/minisign.js';
import { verify, type VerifyOptions } from '../../src/verify.js';
import { splitBundle } from '../../src/volumes/split.js';
import { everyKind, writeBundle } from '../bundle/write-bundle.js';
import { rewriteHead } from '../signing/rewrite-head.js';
import { multiPlatform, singlePlatform } from '../support/image-sets.js';
import { Dice } from '../torture/dice.js';
import { entriesOf, mutations, type Entry, type Whole } from './mutations.js';

/** What the thread reports of a case. */
export interface CaseResult {
  readonly seed: string;
  /** `refused: CODE`, `refused: problems`, `accepted, content unchanged`, or `FAILED: …`. */
  readonly outcome: string;
}

const { dir, seeds } = workerData as { readonly dir: string; readonly seeds: readonly string[] };
const refusals = ['damaged', 'input', 'unsupported', 'untrusted'];

/** A case: returns whether what it changed may be accepted, and what to verify. */
type Play = (dice: Dice) => Promise<{ path: string; options?: VerifyOptions; mayPass: boolean } | undefined>;

function edit(dice: Dice, text: Buffer): Buffer {
  const changed = Buffer.from(text);
  const at = dice.between(0, text.length - 1);
  const length = dice.between(1, 20);
  const word = dice.pick([
    '"',
    '\n',
    '0',
    '../',
    'A',
    '9999999999999999',
    '\0',
    '{',
    ' ',
    '=',
    text.toString('latin1', at, at + length),
  ]);
  if (dice.isLucky(0.4)) changed[at] = (changed[at] ?? 0) ^ (1 << dice.between(0, 7));
  else
    return Buffer.concat([
      changed.subarray(0, at),
      Buffer.from(word, 'latin1'),
      changed.subarray(dice.isLucky(0.5) ? at : at + length),
    ]);
  return changed;
}

async function prepare(): Promise<Readonly<Record<string, Play>>> {
  const plain = join(dir, 'plain.tar');
  const full = multiPlatform({ name: 'part' });
  const part = singlePlatform('linux/arm64', { name: 'part' });
  await writeBundle(plain, [
    ...everyKind(),
    { reference: 'registry.example/acme/part:1', image: part, original: full },
  ]);
  const bytes = readFileSync(plain);
  const whole: Whole = { path: plain, bytes, entries: entriesOf(bytes) };
  const changed = join(dir, 'changed.tar');

  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const idBytes = Buffer.from('0102030405060708', 'hex');
  const x = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url');
  const key = join(dir, 'k.pub');
  const keyBytes = Buffer.concat([Buffer.from('Ed'), idBytes, x]).toString('base64');
  writeFileSync(key, `untrusted comment: minisign public key 0807060504030201\n${keyBytes}\n`);
  const sums = whole.entries.find(({ name }) => name === 'airlift/SHA256SUMS') as Entry;
  const hash = createHash('blake2b512')
    .update(bytes.subarray(sums.content, sums.content + sums.size))
    .digest();
  const secret = { format: 'minisign', id: '0807060504030201', idBytes, key: privateKey } as const;
  const signature = formatMinisig(secret, hash, 'timestamp:1714979289\tfile:SHA256SUMS');
  const signed = join(dir, 'signed.tar');
  await rewriteHead(plain, signed, (entries) => entries.set('airlift/SHA256SUMS.minisig', signature));

  const parts = join(dir, 'parts');
  mkdirSync(parts);
  await splitBundle(plain, { volumeSize: 65_536, output: parts });
  const listPath = join(parts, 'plain.tar.volumes');
  const list = readFileSync(listPath);
  const same = JSON.stringify(parseVolumeList(list.toString(), listPath));

  for (const [path, options] of [
    [plain, {}],
    [signed, { keys: [key] }],
    [listPath, {}],
  ] as const)
    if (!(await verify(path, { jobs: 1, ...options })).ok) throw new Error(`${path} is not intact`);

  const plays: Record<string, Play> = {};
  for (const [what, mutate] of Object.entries(mutations))
    plays[what] = async (dice) => {
      const after = await mutate(dice, whole, changed);
      if (after.equals(bytes)) return undefined;
      writeFileSync(changed, after);
      return { path: changed, mayPass: false };
    };
  plays['a required signature'] = async (dice) => {
    const after = edit(dice, signature);
    if (after.equals(signature)) return undefined;
    await rewriteHead(plain, changed, (entries) => entries.set('airlift/SHA256SUMS.minisig', after));
    // The first line of a signature is a comment that nothing covers: all other content of the bundle is unchanged.
    return { path: changed, options: { keys: [key] }, mayPass: true };
  };
  plays['a list of volumes'] = async (dice) => {
    const after = edit(dice, list);
    writeFileSync(listPath, after);
    let mayPass = false;
    try {
      mayPass = JSON.stringify(parseVolumeList(after.toString(), listPath)) === same;
    } catch (error) {
      if (!(error instanceof AirliftError)) throw error;
    }
    return { path: listPath, mayPass };
  };
  return plays;
}

async function outcomeOf(play: Play, seed: string): Promise<string> {
  try {
    const made = await play(new Dice(seed));
    if (made === undefined) return 'nothing changed';
    const { path, options, mayPass } = made;
    const { ok } = await verify(path, { jobs: 1, ...options });
    if (ok) return mayPass ? 'accepted, content unchanged' : 'FAILED: accepted';
    await BundleReader.open(path).then(
      (reader) => reader.close(),
      (error: unknown) => {
        if (!(error instanceof AirliftError)) throw error;
      },
    );
    return 'refused: problems';
  } catch (error) {
    if (error instanceof AirliftError && refusals.includes(error.code)) return `refused: ${error.code}`;
    return `FAILED: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
  }
}

const plays = await prepare();
const kinds = Object.keys(plays) as [string, ...string[]];
parentPort?.postMessage({ kinds });
for (const seed of seeds) {
  // The kind is a part of the seed, so that a seed alone repeats its case.
  const at = Number(/(\d+)$/.exec(seed)?.[1] ?? 0) % kinds.length;
  const kind = kinds[at] ?? kinds[0];
  parentPort?.postMessage({ begun: seed });
  const outcome = await outcomeOf(plays[kind] as Play, seed);
  parentPort?.postMessage({ seed, kind, outcome });
}
