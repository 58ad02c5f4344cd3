import type { ArgumentsCamelCase, InferredOptionTypes } from 'yargs';
import { firstLines } from '../errors.js';
import { compareWithRegistry, type Comparison } from '../index.js';
import type { RegistryArguments } from './access-flags.js';
import { exitCodes } from './exit-codes.js';
import { positive } from './flags.js';
import { count, formatDuration } from './format.js';
import { interruptible } from './interrupt.js';
import { siteOf } from './names.js';
import { printJson, printLine } from './print.js';
import { registryOptionsOf } from './registry-flags.js';
import { hooksOf } from './trace.js';
import type { againstFlags } from './verify-flags.js';

type AgainstArguments = ArgumentsCamelCase<InferredOptionTypes<typeof againstFlags>> &
  RegistryArguments & {
    readonly json: boolean;
    readonly key?: string[] | undefined;
    readonly volumeDir?: string[] | undefined;
  };

function printComparison({ bundle, target, ...found }: Comparison, milliseconds: number): void {
  const differences = found.differences.map(
    ({ kind, image, digest, detail }) => `differs: ${image}: ${kind} ${digest}: ${detail}`,
  );
  firstLines(differences, differences.length, found.total).forEach(printLine);
  for (const pin of found.lostPins) printLine(`not kept: ${pin}, the original of a filtered index`);
  const what = `${count(found.images, 'name')}, ${count(found.manifests, 'manifest')}, ${count(found.blobs, 'blob')}`;
  if (found.ok)
    return printLine(`${target} holds all of ${bundle}: ${what} in ${formatDuration(milliseconds)}`);
  printLine(`${target} differs from ${bundle}: ${count(found.total, 'difference')} in ${what}`);
  printLine(`next: airlift import ${bundle} --to ${target} sends what is missing`);
}

/** Compares a registry with the bundle. */
export async function runAgainst(bundle: string, against: string, args: AgainstArguments): Promise<void> {
  const started = Date.now();
  const to = await siteOf({ ...args, to: against });
  const registry = await registryOptionsOf(args, process.env, [to.registry], to.registry);
  const comparison = await interruptible((signal) =>
    compareWithRegistry({
      bundle,
      to,
      keys: args.key,
      volumeDirs: args.volumeDir,
      originalIndex: args.index,
      registry,
      hooks: hooksOf(args),
      concurrency: positive('concurrency', args.concurrency),
      signal,
    }),
  );
  if (args.json) printJson(comparison);
  else printComparison(comparison, Date.now() - started);
  if (!comparison.ok) process.exitCode = exitCodes.damaged;
}
