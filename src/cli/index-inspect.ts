import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { inspectIndex, parseReference, type IndexChildReport, type IndexReport } from '../index.js';
import { isIndex } from '../oci/media-types.js';
import { ownFlagsFirst, registryFlags } from './access-flags.js';
import { registryOptionsOf } from './registry-flags.js';
import { formatTable } from './format.js';
import { jsonFlag } from './flags.js';
import { interruptible } from './interrupt.js';
import { standardOutput } from './output.js';
import { printJson, printLine } from './print.js';
import { hooksOf } from './trace.js';

const flags = {
  raw: {
    type: 'boolean',
    default: false,
    describe: 'print the index exactly as stored',
  },
  ...jsonFlag,
  ...registryFlags,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags> & { reference: string }>;

function noteOf(child: IndexChildReport): string {
  const { artifactType, describes, held, mediaType } = child;
  const notes = [
    describes === undefined ? artifactType : `attestation of ${describes.slice(0, 19)}…`,
    isIndex(mediaType) ? 'index' : undefined,
    held ? undefined : 'not in the registry',
  ];
  return notes.filter((note) => note !== undefined).join(', ');
}

function annotationLines(
  annotations: Readonly<Record<string, string>> | undefined,
  indent: string,
): string[] {
  return Object.entries(annotations ?? {}).map(([key, value]) => `${indent}${key}=${value}`);
}

function linesOf(report: IndexReport): string[] {
  const { reference, digest, mediaType, artifactType, subject, annotations, children } = report;
  const fields = { digest, 'media type': mediaType, 'artifact type': artifactType, subject };
  const rows = children.map((child) => [
    child.platform ?? '-',
    child.digest,
    String(child.size),
    noteOf(child),
  ]);
  return [
    reference,
    ...Object.entries(fields).flatMap(([name, value]) =>
      value === undefined ? [] : [`  ${name.padEnd(13)} ${value}`],
    ),
    ...annotationLines(annotations, '  annotation    '),
    formatTable(['PLATFORM', 'DIGEST', 'BYTES', 'NOTE'], rows, [2]),
    ...children.flatMap((child) => {
      const lines = child.describes === undefined ? annotationLines(child.annotations, '  ') : [];
      return lines.length > 0 ? [`annotations of ${child.platform ?? child.digest}`, ...lines] : [];
    }),
  ];
}

async function run(args: Arguments): Promise<void> {
  const reference = parseReference(args.reference);
  const registry = await registryOptionsOf(args, process.env, [reference.registry]);
  const { report, bytes } = await interruptible((signal) =>
    inspectIndex({
      reference,
      registry,
      hooks: hooksOf(args),
      signal,
    }),
  );
  if (args.raw) standardOutput.write(bytes);
  else if (args.json) printJson(report);
  else for (const line of linesOf(report)) printLine(line);
}

/** `airlift index inspect <reference>` */
export function addIndexInspect(parser: Argv): Argv {
  return parser.command(
    'inspect <reference>',
    'show an index and its children',
    (yargs) =>
      ownFlagsFirst(
        yargs.positional('reference', { type: 'string', demandOption: true, describe: 'index to show' }),
      ).options(flags),
    (args) => run(args),
  );
}
