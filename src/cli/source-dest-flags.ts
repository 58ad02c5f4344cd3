import type { ArgumentsCamelCase, InferredOptionTypes } from 'yargs';
import { endpointFlags, type RegistryArguments } from './access-flags.js';

/** Registry flags for only the source or only the destination of a copy. */

type Endpoint = 'src' | 'dest';
type EndpointFlags<E extends Endpoint> = {
  readonly [Name in keyof typeof endpointFlags as `${E}-${Name}`]: (typeof endpointFlags)[Name];
};

const endpointNames: Readonly<Record<Endpoint, string>> = { src: 'the source', dest: 'the destination' };

/** Returns the flags of one endpoint: `--src-creds`, … */
export function flagsOfEndpoint<E extends Endpoint>(endpoint: E): EndpointFlags<E> {
  const flags = Object.entries(endpointFlags).map(([name, flag]) => [
    `${endpoint}-${name}`,
    {
      ...flag,
      group: 'Source and destination options:',
      describe: `--${name} for ${endpointNames[endpoint]}`,
    },
  ]);
  return Object.fromEntries(flags) as EndpointFlags<E>;
}

type EndpointArguments = ArgumentsCamelCase<
  InferredOptionTypes<EndpointFlags<'src'>> & InferredOptionTypes<EndpointFlags<'dest'>>
>;

/** Reports whether any flag of this endpoint is set. */
export function hasEndpointFlags(args: EndpointArguments, endpoint: Endpoint): boolean {
  return Object.keys(endpointFlags).some((name) => args[`${endpoint}-${name}`] !== undefined);
}

/** Returns the registry arguments of one endpoint: its own flags override the flags for both. */
export function argumentsOfEndpoint(
  args: RegistryArguments & EndpointArguments,
  endpoint: Endpoint,
): RegistryArguments {
  const own =
    endpoint === 'src'
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
  const set = Object.entries(own).filter(([, value]) => value !== undefined);
  return { ...args, ...Object.fromEntries(set) };
}
