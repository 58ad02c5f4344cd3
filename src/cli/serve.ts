import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';
import { AirliftError } from '../errors.js';
import { serve, type ServeOptions, type ServeSource } from '../index.js';
import { archiveFlags, inputsOf } from './archives.js';
import type { CommandHead } from './command-names.js';
import { jsonFlag } from './flags.js';
import { collectEarly } from './heap.js';
import { withFlags } from './hints.js';
import { interruptible } from './interrupt.js';
import { serveLog, type ServeLog } from './serve-log.js';
import { emitServed, printStart, printStartJson, registryFor } from './serve-start.js';

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
    describe: 'address and port, or one of them; 0.0.0.0: all addresses; port 0: a free port',
  },
  advertise: {
    type: 'string',
    requiresArg: true,
    defaultDescription: "name in the certificate, or the machine's address",
    describe: 'host, with optional port, by which nodes reach the registry',
  },
  'tls-cert': {
    type: 'string',
    requiresArg: true,
    describe: 'serve HTTPS with this certificate and its chain (PEM)',
  },
  'tls-key': {
    type: 'string',
    requiresArg: true,
    describe: 'private key of the certificate (PEM)',
  },
  htpasswd: {
    type: 'string',
    requiresArg: true,
    describe: 'require a login: file of users and bcrypt hashes (htpasswd -B)',
  },
  emit: {
    type: 'string',
    requiresArg: true,
    describe: 'directory for node configuration: registries.yaml, hosts.toml, …',
  },
  'log-format': {
    choices: ['text', 'json'] as const,
    describe: 'print each request to standard error; json: warnings, too',
  },
  'sparse-index': {
    type: 'boolean',
    default: true,
    describe: 'accept indexes with missing platforms',
  },
  'allow-missing-blobs': {
    type: 'boolean',
    default: false,
    describe: 'accept manifests with missing configs or layers',
  },
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

function sourceOf(args: Arguments, signal: AbortSignal, log: ServeLog): ServeSource {
  const { store, inputs = [] } = args;
  if (store !== undefined && inputs.length === 0) return { store };
  if (store === undefined && inputs.length > 0)
    return {
      ...inputsOf({ ...args, inputs }),
      // Unpacking and compressing an archive can take minutes.
      onEvent: (event) => {
        if (event.event === 'warning') log.warnOnce(withFlags(event.message));
        if (event.event === 'reading') log.note(`reading ${event.file}`);
      },
      signal,
    };
  throw new AirliftError(
    'usage',
    `serve: got ${store === undefined ? 'neither' : 'both'}, want bundles and archives, or --store`,
    {
      hint: 'airlift serve site.tar, or airlift serve --store DIR',
    },
  );
}

/** Rejects flags that would have no effect. */
function rejectFlags(args: Arguments): void {
  const bad = (happened: string, hint: string): never => {
    throw new AirliftError('usage', `serve: ${happened}`, { hint });
  };
  if ((args.tlsCert === undefined) !== (args.tlsKey === undefined))
    bad('got one of --tls-cert and --tls-key, want both', '--tls-cert CERT.pem --tls-key KEY.pem');
  if (args.store !== undefined && args.emit !== undefined)
    bad(
      '--emit needs the names of images, and a store may hold none yet',
      'airlift import BUNDLE --to HOST:PORT --emit DIR',
    );
  if (args.store === undefined && args.allowMissingBlobs)
    bad('--allow-missing-blobs applies to pushes, and bundles are read-only', 'omit it, or use --store DIR');
}

function optionsOf(args: Arguments, log: ServeLog): ServeOptions {
  const { tlsCert: cert, tlsKey: key } = args;
  return {
    ...parseListen(args.listen),
    tls: cert === undefined || key === undefined ? undefined : { cert, key },
    passwordFile: args.htpasswd,
    allowSparse: args.sparseIndex,
    allowMissingBlobs: args.allowMissingBlobs,
    onRequest: log.request,
    onError: ({ message }) => log.warnOnce(withFlags(message)),
  };
}

/** Serves until the first Ctrl-C. */
async function run(args: Arguments): Promise<void> {
  rejectFlags(args);
  collectEarly();
  const log = serveLog(args.logFormat);
  const options = optionsOf(args, log);
  await interruptible(
    async (signal) => {
      const interrupted = new Promise<void>((done) =>
        signal.addEventListener('abort', () => done(), { once: true }),
      );
      const source = sourceOf(args, signal, log);
      const serving = await serve(source, options);
      try {
        for (const warning of serving.warnings) log.warn(withFlags(warning));
        const registry = registryFor(serving, args.advertise);
        if (args.emit !== undefined) await emitServed(args.emit, serving, registry);
        if (args.json) printStartJson(serving, source, registry);
        else printStart(serving, source, registry, options.passwordFile !== undefined);
        await Promise.race([interrupted.then(() => serving.drain()), serving.broken]);
      } finally {
        await serving.close();
      }
      // The first Ctrl-C waits for downloads without a limit; the second one ends them.
    },
    { milliseconds: Infinity },
  );
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
        .example(
          '$0 serve site.tar --listen 0.0.0.0:5000 --tls-cert site.pem --tls-key site.key --htpasswd users',
          'serve to the nodes of a site',
        )
        .example('$0 serve --store /srv/registry', 'serve an empty registry to import into'),
    (args) => run(args),
  );
}
