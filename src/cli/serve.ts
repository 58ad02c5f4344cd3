import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { AirliftError } from '../errors.js';
import { serve, type ProgressEvent, type ServeSource, type Serving } from '../index.js';
import { archiveFlags, inputsOf } from './archives.js';
import type { CommandHead } from './command-names.js';
import { jsonFlag } from './flags.js';
import { interruptible } from './interrupt.js';
import { warnOnce } from './trace.js';
import { printJson, printLine, printNote } from './print.js';

const flags = {
  store: {
    type: 'string',
    requiresArg: true,
    describe: 'directory to serve and to store pushed images in; created if missing',
  },
  listen: {
    type: 'string',
    default: '127.0.0.1:5000',
    requiresArg: true,
    describe: 'address and port, or one of them; port 0 picks a free port',
  },
  'allow-remote': {
    type: 'boolean',
    default: false,
    describe: 'allow addresses that other machines can reach; there is no authentication',
  },
  'sparse-index': {
    type: 'boolean',
    default: true,
    describe: 'accept indexes with missing platforms',
  },
  'trace-requests': { type: 'boolean', default: false, describe: 'print each request to standard error' },
  ...archiveFlags,
  ...jsonFlag,
} as const satisfies Record<string, Options>;

type Arguments = ArgumentsCamelCase<InferredOptionTypes<typeof flags> & { inputs?: string[] }>;

const defaultHost = '127.0.0.1';
const defaultPort = 5000;

/**
 * Reads `HOST:PORT`, `HOST`, `:PORT` or `PORT`; an IPv6 address with a port needs brackets.
 * @throws AirliftError `usage`
 */
export function parseListen(text: string): { host: string; port: number } {
  const bad = (): never => {
    throw new AirliftError('usage', `--listen ${JSON.stringify(text)}: not an address and a port`, {
      hint: `--listen ${defaultHost}:${defaultPort}, or --listen [::1]:${defaultPort}`,
    });
  };
  const [, bracketed, plain = '', digits] =
    /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]*))(?::(\d{1,5}))?$/.exec(
      /^\d{1,5}$/.test(text) ? `:${text}` : text,
    ) ?? bad();
  const host = bracketed ?? plain;
  const port = digits === undefined ? defaultPort : Number(digits);
  if (text === '' || port > 65535) bad();
  return { host: host === '' ? defaultHost : host, port };
}

function sourceOf(args: Arguments, signal: AbortSignal): ServeSource {
  const { store, inputs = [] } = args;
  if (store !== undefined && inputs.length === 0) return { store };
  if (store === undefined && inputs.length > 0)
    return { ...inputsOf({ ...args, inputs }), onEvent: reportOpening, signal };
  throw new AirliftError(
    'usage',
    `serve: got ${store === undefined ? 'neither' : 'both'}, want bundles and archives, or --store`,
    {
      hint: 'airlift serve site.tar, or airlift serve --store DIR',
    },
  );
}

/** Prints warnings, and the names of archives: unpacking and compressing one can take minutes. */
function reportOpening(event: ProgressEvent): void {
  if (event.event === 'warning') warnOnce(event.message);
  if (event.event === 'reading') printNote(`reading ${event.file}`);
}

/** Formats the address as the registry part of a reference. */
function registryOf({ host, port }: Serving): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

function printStart(serving: Serving, source: ServeSource): void {
  const what = source.store ?? source.inputs.join(', ');
  for (const reference of serving.ambiguous) {
    printNote(
      `warning: ${reference}: images of several registries have this path and tag; pull it with the registry in front of the path`,
    );
  }
  printLine(
    `serving ${what} at ${serving.url}${source.store === undefined ? ', read-only' : ''}; Ctrl-C stops it`,
  );
  if (serving.example !== undefined) printLine(`next: docker pull ${registryOf(serving)}/${serving.example}`);
  else if (source.store !== undefined) printLine(`next: airlift import BUNDLE --to ${registryOf(serving)}`);
}

function printStartJson({ url, host, port, ambiguous }: Serving, { store, inputs }: ServeSource): void {
  const what = store === undefined ? { inputs } : { store };
  printJson({ event: 'listening', url, host, port, ...what, ambiguous });
}

/** Serves until the first Ctrl-C. */
async function run(args: Arguments): Promise<void> {
  const { host, port } = parseListen(args.listen);
  await interruptible(async (signal) => {
    const interrupted = new Promise<void>((done) =>
      signal.addEventListener('abort', () => done(), { once: true }),
    );
    const source = sourceOf(args, signal);
    const serving = await serve(source, {
      host,
      port,
      allowRemote: args.allowRemote,
      allowSparse: args.sparseIndex,
      onRequest: args.traceRequests
        ? ({ method, target, status, bytes }) => printNote(`${method} ${target} ${status} ${bytes} bytes`)
        : undefined,
      onError: ({ message }) => warnOnce(message),
    });
    try {
      if (args.json) printStartJson(serving, source);
      else printStart(serving, source);
      await Promise.race([interrupted.then(() => serving.drain()), serving.broken]);
    } finally {
      await serving.close();
    }
    // The first Ctrl-C waits for downloads without a limit; the second one ends them.
  }, Infinity);
}

/** `airlift serve [inputs..]` */
export function addServe(parser: Argv, { usage, describe }: CommandHead): Argv {
  return parser.command(
    usage,
    describe,
    (yargs) =>
      yargs
        .positional('inputs', {
          type: 'string',
          array: true,
          describe: 'bundles, archives and OCI layouts to merge and serve, read-only',
        })
        .options(flags)
        .example('$0 serve site.tar', 'then: docker pull 127.0.0.1:5000/rancher/pause:3.1')
        .example('$0 serve site.tar k3s-airgap-images-*.tar.zst', 'serve a bundle and archives together')
        .example('$0 serve --store /srv/registry', 'serve an empty registry to import into'),
    (args) => run(args),
  );
}
