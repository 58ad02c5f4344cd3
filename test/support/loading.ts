/** Set-up for tests of `load`: a bundle with real programs, and stand-ins for engines that tests cannot install. */
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, join } from 'node:path';
import { exportBundle } from '../../src/export/export.js';
import type { Digest } from '../../src/oci/digest.js';
import { parsePlatform } from '../../src/oci/platform.js';
import { parseReference } from '../../src/oci/reference.js';
import { openInputs } from '../../src/merge/open-inputs.js';
import { bytesOf } from './content.js';
import type { TestImage } from './images.js';
import { pushImage } from './push-image.js';
import { serveStore } from './serve-store.js';
import { temp, type Cleanup } from './temp.js';

export interface LoadBundle {
  readonly path: string;
  /** `host/repository` by the repository. */
  readonly names: ReadonlyMap<string, string>;
  /** The digest of the filtered index of a repository. */
  filtered(repository: string): Promise<Digest>;
}

/** Exports images, each with the tag 1, for two of their platforms: the bundle has filtered indexes and those of the publisher. */
export async function loadBundle(
  t: Cleanup,
  images: Readonly<Record<string, TestImage>>,
  platforms = ['linux/amd64', 'linux/arm64'],
): Promise<LoadBundle> {
  const host = await serveStore(t);
  const path = join(temp(t), 'site.tar');
  const names = new Map<string, string>();
  for (const [repository, image] of Object.entries(images)) {
    await pushImage(host, repository, '1', image);
    names.set(repository, `${host}/${repository}`);
  }
  await exportBundle({
    images: [...names.values()].map((name) => ({ reference: parseReference(`${name}:1`) })),
    platforms: platforms.map(parsePlatform),
    output: path,
    created: new Date(0),
    registry: {},
  });
  const filtered = async (repository: string): Promise<Digest> => {
    const inputs = await openInputs({ inputs: [path] });
    try {
      for (const { reference, root } of inputs.images)
        if (reference.repository === repository) return root.digest;
      throw new Error(`the bundle has no ${repository}`);
    } finally {
      await inputs.close();
    }
  };
  return { path, names, filtered };
}

/** Returns the manifest for an architecture: its digest, and the digest of its config. */
export function childOf(
  image: TestImage,
  architecture: string,
): { readonly manifest: Digest; readonly config: Digest } {
  const parse = (digest: Digest): Record<string, unknown> => {
    const content = image.manifests.get(digest);
    if (content === undefined) throw new Error(`no manifest ${digest}`);
    return JSON.parse(bytesOf(content).toString()) as Record<string, unknown>;
  };
  const { manifests } = parse(image.root.digest) as {
    manifests: { digest: Digest; platform: { architecture: string } }[];
  };
  const child = manifests.find(({ platform }) => platform.architecture === architecture);
  if (child === undefined) throw new Error(`no image for ${architecture}`);
  const { config } = parse(child.digest) as { config: { digest: Digest } };
  return { manifest: child.digest, config: config.digest };
}

/** One call of a stand-in. */
export interface StandInCall {
  readonly args: readonly string[];
  /** What came on standard input. */
  readonly input: Buffer;
}

export interface StandIn {
  /** Environment in which the stand-in is the first program of its name. */
  readonly env: { readonly PATH: string };
  calls(): StandInCall[];
}

/**
 * Writes a shell script that records its arguments and its input, then runs `body`.
 * @param directory where to write it; default: a new directory in PATH
 */
export function standIn(t: Cleanup, name: string, body: string, directory = temp(t)): StandIn {
  const log = temp(t);
  mkdirSync(directory, { recursive: true });
  const script = [
    '#!/bin/sh',
    `n=$(ls '${log}' | wc -l)`,
    `d='${log}'/$(printf %04d "$n")`,
    'mkdir "$d"',
    `printf '%s\\n' "$@" > "$d/args"`,
    'case " $* " in *" import "*|*" load "*) cat > "$d/input";; esac',
    body,
  ];
  writeFileSync(join(directory, name), `${script.join('\n')}\n`);
  chmodSync(join(directory, name), 0o755);
  return {
    env: { PATH: `${directory}${delimiter}${process.env['PATH']}` },
    calls: () => {
      const calls: StandInCall[] = [];
      for (let at = 0; existsSync(join(log, String(at).padStart(4, '0'))); at++) {
        const call = join(log, String(at).padStart(4, '0'));
        const input = existsSync(join(call, 'input')) ? readFileSync(join(call, 'input')) : Buffer.alloc(0);
        calls.push({ args: readFileSync(join(call, 'args'), 'utf8').trimEnd().split('\n'), input });
      }
      return calls;
    },
  };
}

/** Listens on a socket, as an engine does, and returns its path. */
export async function listeningSocket(t: Cleanup): Promise<string> {
  const path = join(temp(t), 'engine.sock');
  const server = createServer();
  await new Promise<void>((done) => server.listen(path, done));
  t.after(() => new Promise<void>((done) => void server.close(() => done())));
  return path;
}
