/** Finds several versions of a program, for measurements and tests that run with each of them. */
import { delimiter } from 'node:path';
import { peer, run, type Peer } from './peers.js';

/** One version of a program. */
export interface Version<Name extends Peer> {
  readonly tool: Name;
  readonly path: string;
  /** Name and version. */
  readonly title: string;
}

const versionArguments: Partial<Record<Peer, string>> = {
  cosign: 'version',
  crane: 'version',
  oras: 'version',
};
/** Only releases of cosign print their version; others print that of Go. */
const versionPatterns: Partial<Record<Peer, RegExp>> = { cosign: /GitVersion: +v?(\d+(?:\.\d+)+)/ };

/**
 * Returns the programs that environment variables name, then the installed ones. A variable is `prefix` and the name of the program, such as
 * `AIRLIFT_BENCH_ORAS`; it holds a path, or several as in `PATH`. Of two programs with the same version, the first one counts.
 */
export async function findVersions<Name extends Peer>(
  tools: readonly Name[],
  prefix: string,
  env: NodeJS.ProcessEnv,
): Promise<Version<Name>[]> {
  const found = new Map<string, Version<Name>>();
  for (const tool of tools) {
    const named = (env[`${prefix}${tool.toUpperCase()}`] ?? '').split(delimiter);
    for (const path of [...named, peer(tool) ?? ''].filter((name) => name !== '')) {
      const { stdout } = await run(path, [versionArguments[tool] ?? '--version']);
      const version = (versionPatterns[tool] ?? /(\d+(?:\.\d+)+)/).exec(stdout)?.[1];
      const title = `${tool} ${version ?? ''}`.trim();
      if (!found.has(title)) found.set(title, { tool, path, title });
    }
  }
  return [...found.values()];
}
