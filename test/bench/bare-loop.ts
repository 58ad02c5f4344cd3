/**
 * The least work that an export can be: two threads fetch, hash and write, each one blob after the other, without a plan, retries,
 * a journal or a sync.
 *
 *     node dist/test/bench/bare-loop.js LIST.json OUTPUT
 *
 * LIST.json: `{"host": "127.0.0.1:5000", "blobs": [{"path": "/v2/…", "digest": "sha256:…", "size": 1}, …]}`
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { Agent, get, type IncomingMessage } from 'node:http';
import { Worker, isMainThread, workerData } from 'node:worker_threads';

interface BareBlob {
  readonly path: string;
  readonly digest: string;
  readonly size: number;
}

export interface BareList {
  readonly host: string;
  readonly blobs: readonly BareBlob[];
}

interface Work {
  readonly list: BareList;
  readonly output: string;
  /** Number of blobs that a thread has taken, shared by the threads. */
  readonly taken: Int32Array;
}

async function transfer(
  host: string,
  blob: BareBlob,
  fd: number,
  offset: number,
  agent: Agent,
): Promise<void> {
  const hash = createHash('sha256');
  const accept = 'application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json';
  const response = await new Promise<IncomingMessage>((done, fail) => {
    get(`http://${host}${blob.path}`, { agent, headers: { accept } }, done).once('error', fail);
  });
  let at = offset;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    hash.update(chunk);
    for (let done = 0; done < chunk.length;)
      done += writeSync(fd, chunk, done, chunk.length - done, at + done);
    at += chunk.length;
  }
  if (`sha256:${hash.digest('hex')}` !== blob.digest) throw new Error(`${blob.path}: wrong content`);
}

async function transferAll({ list, output, taken }: Work): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const fd = openSync(output, 'r+');
  const offsets: number[] = [];
  let end = 0;
  for (const { size } of list.blobs) {
    offsets.push(end);
    end += size;
  }
  for (let next = Atomics.add(taken, 0, 1); next < offsets.length; next = Atomics.add(taken, 0, 1)) {
    const blob = list.blobs[next];
    if (blob !== undefined) await transfer(list.host, blob, fd, offsets[next] ?? 0, agent);
  }
  closeSync(fd);
  agent.destroy();
}

if (isMainThread) {
  const [path = '', output = ''] = process.argv.slice(2);
  const list = JSON.parse(readFileSync(path, 'utf8')) as BareList;
  closeSync(openSync(output, 'w'));
  const taken = new Int32Array(new SharedArrayBuffer(4));
  const work: Work = { list, output, taken };
  for (let count = 0; count < Math.min(2, list.blobs.length); count++)
    new Worker(new URL(import.meta.url), { workerData: work });
} else {
  await transferAll(workerData as Work);
}
