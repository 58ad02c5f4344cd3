import type { ArgumentsCamelCase, InferredOptionTypes } from 'yargs';
import { endFlags, type RegistryArguments } from './registry-flags.js';

/** Flags for one end of a copy, where source and destination are reached in different ways. */

type End = 'src' | 'dest';
type EndFlags<E extends End> = {
  readonly [Name in keyof typeof endFlags as `${E}-${Name}`]: (typeof endFlags)[Name];
};

const endNames: Readonly<Record<End, string>> = { src: 'the source', dest: 'the destination' };

/** The flags of one end of a copy: `--src-creds`, … */
export function flagsOfEnd<E extends End>(end: E): EndFlags<E> {
  const flags = Object.entries(endFlags).map(([name, flag]) => [
    `${end}-${name}`,
    { ...flag, group: 'Source and destination options:', describe: `--${name} for ${endNames[end]}` },
  ]);
  return Object.fromEntries(flags) as EndFlags<E>;
}

type EndArguments = ArgumentsCamelCase<
  InferredOptionTypes<EndFlags<'src'>> & InferredOptionTypes<EndFlags<'dest'>>
>;

/** Whether anything is said of one end alone. */
export function hasEnd(args: EndArguments, end: End): boolean {
  return Object.keys(endFlags).some((name) => args[`${end}-${name}`] !== undefined);
}

/** What the flags say of one end: its own, and in their place those for both. */
export function argumentsOfEnd(args: RegistryArguments & EndArguments, end: End): RegistryArguments {
  const own =
    end === 'src'
      ? {
          creds: args.srcCreds,
          authfile: args.srcAuthfile,
          caFile: args.srcCaFile,
          certDir: args.srcCertDir,
          insecureSkipTlsVerify: args.srcInsecureSkipTlsVerify,
          tlsVerify: args.srcTlsVerify,
          plainHttp: args.srcPlainHttp,
        }
      : {
          creds: args.destCreds,
          authfile: args.destAuthfile,
          caFile: args.destCaFile,
          certDir: args.destCertDir,
          insecureSkipTlsVerify: args.destInsecureSkipTlsVerify,
          tlsVerify: args.destTlsVerify,
          plainHttp: args.destPlainHttp,
        };
  const told = Object.entries(own).filter(([, value]) => value !== undefined);
  return { ...args, ...Object.fromEntries(told) };
}
