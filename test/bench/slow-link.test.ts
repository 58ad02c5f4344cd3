import assert from 'node:assert/strict';
import { connect, createServer, type AddressInfo } from 'node:net';
import { test } from 'node:test';
import { testDigest, noise } from '../support/content.js';
import { startSlowLink } from './slow-link.js';

test(
  'a slow link passes all bytes and the end of a stream in both directions',
  { timeout: 60_000 },
  async () => {
    const sent = Buffer.concat([...noise(5_000_000, 'slow link')]);
    /** Sends everything back in two parts, after the client has ended its stream. */
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      const chunks: Buffer[] = [];
      socket.on('data', (chunk: Buffer) => chunks.push(chunk));
      socket.on('end', () => {
        const all = Buffer.concat(chunks);
        socket.write(all.subarray(0, 1_000_000));
        socket.end(all.subarray(1_000_000));
      });
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const { port } = server.address() as AddressInfo;
    const link = await startSlowLink({ upstream: `127.0.0.1:${port}`, bytesPerSecond: 100e6, delay: 2 });
    try {
      const client = connect({
        port: Number(link.host.split(':')[1]),
        host: '127.0.0.1',
        allowHalfOpen: true,
      });
      client.end(sent);
      const got: Buffer[] = [];
      for await (const chunk of client) got.push(chunk as Buffer);
      assert.equal(testDigest(Buffer.concat(got)), testDigest(sent));
    } finally {
      await link.stop();
      await new Promise((done) => server.close(done));
    }
  },
);
