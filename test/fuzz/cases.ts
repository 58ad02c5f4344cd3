/** The kinds of cases of `npm run fuzz`: what is changed, how airlift is asked about it, and when it may accept it. */
import { createHash, createSign, generateKeyPairSync } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { parseVolumeList } from '../../src/bundle/format/volumes/list.js';
import { BundleReader } from '../../src/bundle/reader.js';
import { AirliftError } from '../../src/errors.js';
import { digestOf, type Digest } from '../../src/oci/digest.js';
import { parseReference } from '../../src/oci/reference.js';
import { formatReceipt, Receipt } from '../../src/receipts/receipt.js';
import { Request, writeRequest } from '../../src/request/request.js';
import { verifyFile } from '../../src/sign.js';
import { formatMinisig, parseMinisig } from '../../src/signing/minisign.js';
import { verify, type VerifyOptions } from '../../src/verify.js';
import { splitBundle } from '../../src/volumes/split.js';
import { writeBundle } from '../bundle/write-bundle.js';
import { rewriteHead } from '../signing/rewrite-head.js';
import type { Dice } from '../torture/dice.js';
import { smallCargo, writeDelta } from './bundles.js';
import { entriesOf, isSameBundle, mutations, type Entry, type Whole } from './mutations.js';

/** A case that is ready: whether airlift accepts the changed input, and whether it may. */
export interface Case {
  readonly accepts: () => Promise<boolean>;
  readonly mayPass: () => Promise<boolean> | boolean;
}

/** Makes a case; undefined if nothing has changed. */
export type Play = (dice: Dice) => Promise<Case | undefined> | Case | undefined;

/** Returns a copy of a text with a few bytes changed, removed, added or doubled. */
function edit(dice: Dice, text: Buffer): Buffer {
  const at = dice.between(0, text.length - 1);
  if (dice.isLucky(0.4)) {
    const changed = Buffer.from(text);
    changed[at] = (changed[at] ?? 0) ^ (1 << dice.between(0, 7));
    return changed;
  }
  const length = dice.between(1, 20);
  const word = dice.pick([
    ...(['"', '\n', '0', '../', 'A', '9999999999999999', '\0', '{', ' ', '='] as const),
    text.toString('latin1', at, at + length),
  ]);
  const rest = text.subarray(dice.isLucky(0.5) ? at : at + length);
  return Buffer.concat([text.subarray(0, at), Buffer.from(word, 'latin1'), rest]);
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

async function isIntact(path: string, options: VerifyOptions = {}): Promise<boolean> {
  return (await verify(path, { jobs: 1, ...options })).ok;
}

/** Opens a changed bundle for reading, which must succeed or fail with an AirliftError. */
async function opens(path: string): Promise<void> {
  try {
    await (await BundleReader.open(path)).close();
  } catch (error) {
    if (!(error instanceof AirliftError)) throw error;
  }
}

function wholeOf(path: string): Whole {
  const bytes = readFileSync(path);
  return { path, bytes, entries: entriesOf(bytes) };
}

/** Makes minisign and ECDSA signatures, and has the files of both public keys. */
function signer(dir: string) {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const ecdsa = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const idBytes = Buffer.from('0102030405060708', 'hex');
  const x = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url');
  const keys = [join(dir, 'k.pub'), join(dir, 'k.pem')] as const;
  const keyBytes = Buffer.concat([Buffer.from('Ed'), idBytes, x]).toString('base64');
  writeFileSync(keys[0], `untrusted comment: minisign public key 0807060504030201\n${keyBytes}\n`);
  writeFileSync(keys[1], ecdsa.publicKey.export({ type: 'spki', format: 'pem' }));
  const secret = { format: 'minisign', id: '0807060504030201', idBytes, key: privateKey } as const;
  return {
    keys,
    minisig: (content: Uint8Array): Buffer =>
      formatMinisig(
        secret,
        createHash('blake2b512').update(content).digest(),
        'timestamp:1714979289\tfile:x',
      ),
    ecdsa: (content: Uint8Array): Buffer => createSign('sha256').update(content).sign(ecdsa.privateKey),
  };
}

type Signer = ReturnType<typeof signer>;

const sameMinisig = (before: Buffer, after: Buffer): boolean => {
  try {
    return isDeepStrictEqual(parseMinisig(before, 'x'), parseMinisig(after, 'x'));
  } catch {
    return false;
  }
};

/** Bundles in one file: each mutation of a bundle without a signature, a delta, and a signed one. */
async function bundleCases(
  dir: string,
  { minisig, keys }: Signer,
  plays: Record<string, Play>,
): Promise<void> {
  const plain = join(dir, 'plain.tar');
  await writeBundle(plain, smallCargo());
  const delta = join(dir, 'delta.tar');
  await writeDelta(delta, smallCargo(), digestOf(Buffer.from('receipt')));
  const { bytes, entries } = wholeOf(plain);
  const sums = entries.find(({ name }) => name === 'airlift/SHA256SUMS') as Entry;
  const signature = minisig(bytes.subarray(sums.content, sums.content + sums.size));
  const signed = join(dir, 'signed.tar');
  await rewriteHead(plain, signed, (head) => head.set('airlift/SHA256SUMS.minisig', signature));
  const changed = join(dir, 'changed.tar');
  for (const [kind, path, options] of [
    ['a bundle', plain, {}],
    ['a delta', delta, { base: [plain] }],
    ['a signed bundle', signed, { keys }],
  ] as const) {
    if (!(await isIntact(path, options))) throw new Error(`${path} is not intact`);
    const whole = wholeOf(path);
    // The base of a delta would be hashed for each case.
    const { keys: required } = options as VerifyOptions;
    for (const [what, mutate] of Object.entries(mutations))
      plays[`${kind}: ${what}`] = (dice) => {
        const after = mutate(dice, whole, changed);
        if (after.equals(whole.bytes)) return undefined;
        writeFileSync(changed, after);
        return {
          accepts: async () => {
            const accepted = await isIntact(changed, { keys: required });
            if (!accepted) await opens(changed);
            return accepted;
          },
          mayPass: () => isSameBundle(whole, after),
        };
      };
  }
  plays['a signed bundle: its signature'] = async (dice) => {
    const after = edit(dice, signature);
    if (after.equals(signature)) return undefined;
    await rewriteHead(plain, changed, (head) => head.set('airlift/SHA256SUMS.minisig', after));
    // The first line of a signature is a comment that nothing covers.
    return { accepts: () => isIntact(changed, { keys }), mayPass: () => sameMinisig(signature, after) };
  };
}

/** Bundles in volumes: their list, and the volumes. */
async function volumeCases(
  dir: string,
  { minisig, keys }: Signer,
  plays: Record<string, Play>,
): Promise<void> {
  const parts = join(dir, 'parts');
  mkdirSync(parts);
  await splitBundle(join(dir, 'plain.tar'), { volumeSize: 100_000, output: parts });
  const path = join(parts, 'plain.tar.volumes');
  const list = readFileSync(path);
  const said = parseVolumeList(list.toString(), path);
  if (!(await isIntact(path))) throw new Error(`${path} is not intact`);
  const isSame = (text: Buffer): boolean => {
    try {
      return isDeepStrictEqual(parseVolumeList(text.toString(), path), said);
    } catch {
      return false;
    }
  };
  const isIntactWith = async (changed: Buffer): Promise<boolean> => {
    writeFileSync(path, changed);
    try {
      return await isIntact(path);
    } finally {
      writeFileSync(path, list);
    }
  };
  plays['volumes: their list'] = (dice) => {
    const after = edit(dice, list);
    if (after.equals(list)) return undefined;
    return {
      accepts: () => isIntactWith(after),
      mayPass: () => isSame(after),
    };
  };
  plays['volumes: a value of their list'] = (dice) => {
    const json = JSON.parse(list.toString()) as Record<string, unknown> & {
      volumes: Record<string, unknown>[];
    };
    const entry = dice.isLucky(0.3) ? json : dice.pick(json.volumes as [Record<string, unknown>]);
    const name = dice.pick(Object.keys(entry) as [string, ...string[]]);
    const other = dice.pick(json.volumes as [Record<string, unknown>, ...Record<string, unknown>[]]);
    const value = entry[name];
    if (name === 'volumes') json.volumes = json.volumes.filter((one) => one !== other);
    else if (dice.isLucky(0.3)) [entry[name], other[name]] = [other[name], value];
    else
      entry[name] = dice.pick<unknown>([
        null,
        typeof value === 'number' ? value + dice.between(-2, 2) : `${String(value).slice(0, -1)}0`,
        String(value),
      ]);
    const after = Buffer.from(JSON.stringify(json));
    if (isSame(after)) return undefined;
    return {
      accepts: () => isIntactWith(after),
      mayPass: () => false,
    };
  };
  plays['volumes: a file'] = (dice) => {
    const all = said.volumes.map(({ name }) => join(parts, name)) as [string, ...string[]];
    const [one, two] = [dice.pick(all), dice.pick(all)];
    const before = readFileSync(one);
    const kind = dice.roll();
    const swaps = kind < 0.3 && one !== two;
    const after = kind < 0.6 ? Buffer.from(before) : edit(dice, before);
    if (kind < 0.6) {
      const at = dice.between(0, before.length - 1);
      after[at] = (after[at] ?? 0) ^ (1 << dice.between(0, 7));
    }
    return {
      accepts: async () => {
        const exchange = (): void => {
          renameSync(one, `${one}.other`);
          renameSync(two, one);
          renameSync(`${one}.other`, two);
        };
        if (swaps) exchange();
        else writeFileSync(one, after);
        try {
          return await isIntact(path);
        } finally {
          if (swaps) exchange();
          else writeFileSync(one, before);
        }
      },
      mayPass: () => !swaps && after.equals(before),
    };
  };
  const beside = `${join(parts, 'plain.tar')}.minisig`;
  const { bytes, entries } = wholeOf(join(dir, 'plain.tar'));
  const { content, size } = entries.find(({ name }) => name === 'airlift/SHA256SUMS') as Entry;
  const signature = minisig(bytes.subarray(content, content + size));
  plays['volumes: the signature beside them'] = (dice) => {
    const after = edit(dice, signature);
    if (after.equals(signature)) return undefined;
    writeFileSync(beside, after);
    return { accepts: () => isIntact(path, { keys }), mayPass: () => sameMinisig(signature, after) };
  };
}

/** Files that are signed as they are, and their signatures. */
async function fileCases(
  dir: string,
  { minisig, ecdsa, keys }: Signer,
  plays: Record<string, Play>,
): Promise<void> {
  const { bytes, entries } = wholeOf(join(dir, 'plain.tar'));
  const { content, size } = entries.find(({ name }) => name === 'airlift/SHA256SUMS') as Entry;
  const digests = smallCargo().flatMap(({ image }) => [...image.manifests.values()]);
  const receipt = formatReceipt(
    { kind: 'receipt', registry: 'r.example:5000', time: '2024-05-06T07:08:09Z', airlift: '1.0' },
    digests.map(({ digest }, at) => ({ repository: `acme/a${at}`, tag: '1', digest, content: 'index' })),
  );
  const requestPath = join(dir, 'request');
  const images = ['r.example/a:1', 'busybox'].map(parseReference);
  const blobs = [...new Set(digests.map(({ digest }) => digest))].map((digest, at) => ({
    digest,
    size: at,
    images,
  }));
  const sums = digestOf(bytes.subarray(content, content + size));
  await writeRequest(requestPath, { bundle: 'site.tar', sums, head: true }, blobs);
  const request = readFileSync(requestPath);
  const files = {
    'a receipt': Buffer.from(receipt),
    'a request': request,
    'a list of sums': bytes.subarray(content, content + size),
    'a signed list of volumes': readFileSync(join(dir, 'parts', 'plain.tar.volumes')),
  };
  for (const [what, text] of Object.entries(files)) {
    const path = join(dir, what.replaceAll(' ', '-'));
    const [byMinisign, byEcdsa] = [minisig(text), ecdsa(text)];
    writeFileSync(path, text);
    for (const [extension, signature, isSame] of [
      ['minisig', byMinisign, (after: Buffer) => sameMinisig(byMinisign, after)],
      [
        'sig',
        byEcdsa,
        (after: Buffer) =>
          byEcdsa.equals(after) || byEcdsa.equals(Buffer.from(after.toString().trim(), 'base64')),
      ],
    ] as const) {
      const check = async (): Promise<boolean> => (await verifyFile(path, keys)).ok;
      const alone = (content: Uint8Array, bySignature: Uint8Array): void => {
        writeFileSync(path, content);
        writeFileSync(`${path}.minisig`, extension === 'minisig' ? bySignature : '');
        writeFileSync(`${path}.sig`, extension === 'sig' ? bySignature : '');
      };
      plays[`${what} with a signature: the file (${extension})`] = (dice) => {
        const after = edit(dice, text);
        if (after.equals(text)) return undefined;
        alone(after, signature);
        return { accepts: check, mayPass: () => false };
      };
      plays[`${what} with a signature: the signature (${extension})`] = (dice) => {
        const after = edit(dice, signature);
        if (after.equals(signature)) return undefined;
        alone(text, after);
        return { accepts: check, mayPass: () => isSame(after) };
      };
    }
  }
  const known = new Map<Digest, number>(blobs.map(({ digest, size: bytesOf }) => [digest, bytesOf]));
  plays['a request: its text'] = (dice) => {
    const after = edit(dice, request);
    if (after.equals(request)) return undefined;
    writeFileSync(requestPath, after);
    let asks: readonly { readonly digest: Digest; readonly size?: number | undefined }[] = [];
    let of: Digest | undefined;
    return {
      accepts: async () => {
        const read = await Request.open(requestPath);
        of = read.header.sums;
        asks = await all(read.blobs());
        return true;
      },
      // Lines can be left out; the check letters of the others prove their digests and sizes.
      mayPass: () =>
        (of === undefined || of === sums) &&
        asks.every(({ digest, size: stated }) => known.has(digest) && known.get(digest) === stated),
    };
  };
  plays['a receipt: its text'] = (dice) => {
    const after = edit(dice, Buffer.from(receipt));
    if (after.equals(Buffer.from(receipt))) return undefined;
    const path = join(dir, 'receipt');
    writeFileSync(path, after);
    let read = '';
    return {
      accepts: async () => {
        const opened = await Receipt.open(path);
        read = formatReceipt(opened.head, await all(opened.entries()));
        return true;
      },
      // Nothing in a receipt proves its lines: it is read as it is written, and no other way.
      mayPass: () => {
        const lines = new Set(after.toString().split('\n'));
        return read.split('\n').every((line) => lines.has(line) || line.startsWith('airlift: '));
      },
    };
  };
}

/** Writes what the cases change into a directory, and returns the cases by kind. */
export async function prepareCases(dir: string): Promise<Readonly<Record<string, Play>>> {
  const plays: Record<string, Play> = {};
  const keys = signer(dir);
  await bundleCases(dir, keys, plays);
  await volumeCases(dir, keys, plays);
  await fileCases(dir, keys, plays);
  return plays;
}
