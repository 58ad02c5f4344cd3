import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { it } from 'node:test';
import { Wire } from '../../../src/registry/http/wire.js';
import type { Cleanup } from '../../support/temp.js';
import { testClient } from '../client.js';
import { content } from '../content.js';
import { readRequest, startOddServer } from '../odd-server.js';

const { descriptor } = content(randomBytes(5000));
const name = (host: string): { registry: string; repository: string } => ({
  registry: host,
  repository: 'a',
});

/** A server that sees connections and the requests on each of them, which have no bodies. */
async function startRawServer(
  t: Cleanup,
  answer: (socket: Socket, request: number) => void,
): Promise<{ readonly host: string; readonly connections: number[] }> {
  /** Requests on each connection. */
  const connections: number[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    const at = connections.push(0) - 1;
    sockets.add(socket.on('error', () => undefined));
    socket.on('data', () => answer(socket, (connections[at] = (connections[at] ?? 0) + 1)));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.after(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((done) => server.close(done));
  });
  return { host: `127.0.0.1:${(server.address() as AddressInfo).port}`, connections };
}

const found = `HTTP/1.1 200 OK\r\nContent-Length: ${descriptor.size}\r\n\r\n`;

it('sends further requests on the connection of a HEAD', async (t) => {
  const server = await startRawServer(t, (socket) => socket.write(found));
  const { registry } = testClient(t);
  for (let count = 0; count < 20; count++)
    assert.equal(await registry.exists(name(server.host), descriptor), true);
  assert.ok(server.connections.length <= 2, String(server.connections));
});

it('uses a connection for one request only if the server sends a body after HEAD', async (t) => {
  const server = await startRawServer(t, (socket, request) => {
    // The body of the first response arrives when the second request has been sent.
    socket.write(request === 1 ? found : 'a body that must not be here');
  });
  const { registry } = testClient(t, { retries: 5 });
  for (let count = 0; count < 10; count++)
    assert.equal(await registry.exists(name(server.host), descriptor), true);
  assert.deepEqual(server.connections.slice(-3), [1, 1, 1]);
});

it('sends content whose memory is reused', async (t) => {
  // More than the system buffers, in chunks that a socket takes without waiting, and in larger ones.
  const sizes = [...Array<number>(1000).fill(15_000), 1, 65_535, 65_536, 300, 1_000_000, 20_000];
  const pieces = sizes.map((size) => randomBytes(size));
  const received: Buffer[] = [];
  const server = await startOddServer(t, (request, response) => {
    // Nothing is read at first, so that the content waits in the buffers of the connection.
    setTimeout(() => {
      void readRequest(request).then((body) => response.end(void received.push(body)));
    }, 50);
  });
  const wire = new Wire({
    idleTimeout: 10_000,
    connectTimeout: 10_000,
    tlsOf: () => assert.fail('no TLS here'),
    proxyOf: () => undefined,
  });
  t.after(() => wire.close());
  const memory = Buffer.alloc(1_000_000);
  async function* open(): AsyncGenerator<Uint8Array> {
    for (const piece of pieces) {
      await Promise.resolve();
      piece.copy(memory);
      yield memory.subarray(0, piece.byteLength);
    }
    memory.fill(0);
  }
  const size = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
  const url = new URL(`http://${server.host}/`);
  const response = await wire.send({ method: 'PUT', url, headers: {}, body: { size, open }, action: 'send' });
  assert.equal(response.status, 200);
  assert.ok(received[0]?.equals(Buffer.concat(pieces)));
});
