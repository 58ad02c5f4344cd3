import { AirliftError } from '../errors.js';
import { nodeSettings, reachableHost, servedNames, type ServeSource, type Serving } from '../index.js';
import { formatTable } from './format.js';
import { emitSetup } from './names.js';
import { printJson, printLine, printLines, printNote } from './print.js';

/**
 * Returns host and port by which nodes reach the registry.
 * @param advertised the value of `--advertise`
 * @throws AirliftError `usage`
 */
export function registryFor(serving: Serving, advertised: string | undefined): string {
  if (advertised === undefined) return withPort(reachableHost(serving), serving.port);
  const [, host, port] = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(?::(\d{1,5}))?$/.exec(advertised) ?? [];
  const number = Number(port ?? serving.port);
  if (host === undefined || number < 1 || number > 65535) {
    throw new AirliftError(
      'usage',
      `--advertise ${JSON.stringify(advertised)}: not a host, with or without a port`,
      {
        hint: '--advertise registry.site, or --advertise registry.site:5000',
      },
    );
  }
  return `${host}:${port ?? serving.port}`;
}

function withPort(host: string, port: number): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

const isPlain = ({ url }: Serving): boolean => url.startsWith('http:');

/** Writes the files for nodes. */
export async function emitServed(directory: string, serving: Serving, registry: string): Promise<void> {
  const { site, names } = servedNames(serving.images, registry);
  const { authority } = serving;
  await emitSetup(directory, site, names, { plainHttp: isPlain(serving), skipVerify: false, authority });
}

export function printStart(
  serving: Serving,
  { store, inputs }: ServeSource,
  registry: string,
  hasLogins: boolean,
): void {
  for (const reference of serving.ambiguous) {
    printNote(
      `warning: ${reference}: images of several registries have this path and tag; pull it with the registry in front of the path`,
    );
  }
  const what = store ?? inputs.join(', ');
  printLine(`serving ${what} at ${serving.url}${store === undefined ? ', read-only' : ''}; Ctrl-C stops it`);
  if (hasLogins) printLine(`log in first: docker login ${registry}`);
  if (serving.example !== undefined) printLine(`next: docker pull ${registry}/${serving.example}`);
  else if (store !== undefined) printLine(`next: airlift import BUNDLE --to ${registry}`);
  const settings = nodeSettings(serving.images, registry, { plainHttp: isPlain(serving) });
  if (settings.length === 0) return;
  printLine(
    'for nodes that pull under the names of the source registries (--emit DIR writes complete files):',
  );
  printLines(
    formatTable(
      ['  engine', 'file', 'content'],
      settings.map(({ engine, file, text }) => [`  ${engine}`, file, text]),
    ),
  );
  if (!isPlain(serving))
    printLine('  nodes must trust the authority of the certificate; docs/serve.md says where');
  if (hasLogins) printLine('  nodes need a login; docs/serve.md says where');
}

export function printStartJson(serving: Serving, { store, inputs }: ServeSource, registry: string): void {
  const { url, host, port, ambiguous } = serving;
  const what = store === undefined ? { inputs } : { store };
  printJson({ event: 'listening', url, host, port, registry, ...what, ambiguous });
}
