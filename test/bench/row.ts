/** What a row of the benchmark consists of, and what it gets from the benchmark. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { startDockerRegistry, type DockerRegistry } from '../support/docker-registry.js';
import { registryContent, type Content } from './content.js';
import { fullShape, serveCorpus, smallShape, type Corpus, type CorpusShape } from './corpus.js';
import { writeImageList, type ImageList } from './image-list.js';
import type { FoundPeer } from './peers.js';
import type { Contender, Run } from './race.js';
import type { ContenderResult, RowResult } from './results.js';

/** What a row gets from the benchmark. */
export interface Bench {
  readonly isSmall: boolean;
  readonly peers: readonly FoundPeer[];
  /** Directory with the inputs, which later runs use again. */
  readonly inputs: string;
  /** Directory for output: a tmpfs if there is one. */
  readonly out: string;
  /** airlift's name and version. */
  readonly airlift: string;
  /** Measures contenders for as many rounds as the row or the command line wants. */
  race(contenders: readonly Contender[]): Promise<ContenderResult[]>;
}

export interface Row {
  /** Name for `--rows`. */
  readonly name: string;
  /** Default number of rounds. */
  readonly rounds: number;
  /** Measures the work. Some rows have several results, for example for export and import. */
  measure(bench: Bench): Promise<RowResult[]>;
}

/** A registry with a corpus. */
export interface Source {
  readonly host: string;
  /** Process of the registry. */
  readonly pid: number;
  readonly corpus: Corpus;
  readonly list: ImageList;
  readonly content: Content;
}

/** The contents of corpora, by their directories: several rows use the same. */
const contents = new Map<string, Content>();

/** Serves a corpus while `work` runs. The first row that uses it reads all of it, so that it is in the page cache. */
export async function withSource<Result>(
  bench: Bench,
  name: string,
  shape: CorpusShape,
  work: (source: Source) => Promise<Result>,
): Promise<Result> {
  const dir = join(bench.inputs, name);
  const { registry, corpus } = await serveCorpus(dir, shape);
  try {
    const content = contents.get(dir) ?? (await registryContent(registry.host, corpus.images));
    contents.set(dir, content);
    const list = writeImageList(join(bench.out, 'images'), corpus.images);
    return await work({ host: registry.host, pid: registry.pid, corpus, list, content });
  } finally {
    await registry.stop();
  }
}

/** Serves the corpus that most rows use while `work` runs, which gets a description of it as Markdown, too. */
export function withImages<Result>(
  bench: Bench,
  work: (source: Source, described: string) => Promise<Result>,
): Promise<Result> {
  const shape = bench.isSmall ? smallShape : fullShape;
  return withSource(bench, 'images', shape, (source) =>
    work(source, describeCorpus(source.corpus, shape.platforms.length)),
  );
}

type Identity = Pick<Contender, 'tool' | 'kind' | 'title'>;

/** Returns what identifies airlift among the contenders. */
export function airliftIdentity(bench: Bench): Identity {
  return { tool: 'airlift', kind: 'airlift', title: bench.airlift };
}

/** Returns what identifies another tool among the contenders. */
export function peerIdentity({ tool, title }: FoundPeer): Identity {
  return { tool, kind: 'peer', title };
}

/** Returns an empty directory for the output of one run. */
export function emptyDirectory(bench: Bench, name: string): string {
  const dir = join(bench.out, name);
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true });
  return dir;
}

/** Prepares a run that fills an empty registry. */
export async function intoEmptyRegistry(
  bench: Bench,
  command: (host: string, dir: string) => readonly string[],
  check: (host: string) => Promise<void>,
): Promise<Run> {
  const dir = emptyDirectory(bench, 'run');
  const storage = emptyDirectory(bench, 'target');
  const target = await startDockerRegistry({ storage });
  return {
    command: command(target.host, dir),
    check: () => check(target.host),
    end: () => stopAndRemove(target, dir),
  };
}

/** Stops a registry, and removes its storage and a directory. */
export async function stopAndRemove(target: DockerRegistry, dir: string): Promise<void> {
  await target.stop();
  rmSync(target.dir, { recursive: true, force: true });
  rmSync(dir, { recursive: true, force: true });
}

/** Describes a corpus, as Markdown. */
export function describeCorpus({ images, blobs, bytes }: Corpus, platforms: number): string {
  const each = platforms === 1 ? '' : ` × ${platforms} platforms`;
  return `${images.length} images${each}, ${blobs} distinct manifests, configs and layers, ${(bytes / 1e9).toFixed(2)} GB`;
}
