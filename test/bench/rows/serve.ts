import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { airliftPath } from '../../support/airlift.js';
import { startDaemon } from '../../support/daemon.js';
import { peerPath, run } from '../../support/peers.js';
import { registryContent } from '../content.js';
import { quote, script } from '../peers.js';
import type { Contender } from '../race.js';
import type { RowResult } from '../results.js';
import { airliftIdentity, withImages, type Row, type Source } from '../row.js';
import { writeBundle } from './exports.js';

/** A registry whose throughput is measured. */
interface Served {
  readonly host: string;
  readonly pid: number;
}

/** Writes a configuration with which curl downloads every blob of the images over one connection. */
function writeBlobList(path: string, { content }: Source, host: string): void {
  const lines = [...content.walk].flatMap(([digest, found]) => {
    if (found === 'absent' || /manifest|image\.index/.test(found.mediaType)) return [];
    const url = `http://${host}/v2/${content.repositories.get(digest) ?? ''}/blobs/${digest}`;
    return [`url = "${url}"`, 'output = "/dev/null"'];
  });
  writeFileSync(path, lines.join('\n'));
}

/** Returns the command by which `clients` clients download every blob at the same time. */
function pulls(list: string, clients: number): readonly string[] {
  const line = `${quote(peerPath('curl'))} -sS --fail -K ${quote(list)}`;
  return script(
    ...Array.from({ length: clients }, (_, at) => `${line} & p${at}=$!`),
    ...Array.from({ length: clients }, (_, at) => `wait $p${at}`),
  );
}

export const serveRow: Row = {
  name: 'serve',
  rounds: 5,
  measure: (bench) =>
    withImages(bench, async (source, described) => {
      const bundle = await writeBundle(bench, source);
      const args = [airliftPath, 'serve', bundle, '--listen', '127.0.0.1:0', '--json'];
      const airlift = await startDaemon(process.execPath, args, {
        log: join(bench.out, 'serve.log'),
        ready: (log) => /"port":(\d+)/.exec(log)?.[1],
      });
      try {
        const { stdout: version } = await run(peerPath('docker-registry'), ['--version']);
        const served: readonly [Omit<Contender, 'prepare'>, Served][] = [
          [
            { ...airliftIdentity(bench), does: '`airlift serve` of a bundle' },
            { host: `127.0.0.1:${airlift.answer}`, pid: airlift.pid },
          ],
          [
            {
              tool: 'docker-registry',
              kind: 'peer',
              title: `docker-registry ${/\d+(?:\.\d+)+/.exec(version)?.[0] ?? ''}`.trim(),
              does: '`docker-registry serve` of a directory',
            },
            source,
          ],
        ];
        // airlift hashes what it sends for the first time. Everything is compared with the source here.
        for (const [, { host }] of served) {
          const { roots } = await registryContent(host, source.corpus.images);
          assert.deepEqual(roots, source.content.roots);
        }
        const row = async (clients: number): Promise<RowResult> => ({
          name: `serve-${clients}`,
          title: clients === 1 ? 'Pulls by one client' : `Pulls by ${clients} clients at the same time`,
          work: `Each client is a \`curl\` on the same machine that downloads every blob of ${described}. CPU time and memory are the server's, without the clients.`,
          contenders: await bench.race(
            served.map(([contender, { host, pid }]) => ({
              ...contender,
              prepare: () => {
                const list = join(bench.out, `blobs-${contender.kind}`);
                writeBlobList(list, source, host);
                return { command: pulls(list, clients), server: pid };
              },
            })),
          ),
          // 0.9 times its throughput.
          goals: [{ figure: 'wall', limit: 1.11, of: 'docker-registry' }],
        });
        return [await row(1), await row(4)];
      } finally {
        await airlift.stop();
      }
    }),
};
