/** A client of the container runtime interface, through which the kubelet asks containerd for images (CRI, `runtime.v1.ImageService`). */
import { connect as connectHttp2, type IncomingHttpHeaders } from 'node:http2';
import { connect } from 'node:net';
import { until } from './until.js';

/** An image as the kubelet sees it. */
export interface CriImage {
  /** The digest of the config. */
  readonly id: string;
  readonly tags: readonly string[];
  readonly digests: readonly string[];
  /** Whether the kubelet's garbage collection leaves the image alone. */
  readonly pinned: boolean;
}

/** Encodes a field with bytes, shorter than 128 bytes or not (protobuf, wire type 2). */
function field(number: number, content: Uint8Array): Buffer {
  const length: number[] = [];
  for (let rest = content.length; ; rest >>>= 7) {
    length.push(rest > 127 ? (rest & 127) | 128 : rest);
    if (rest <= 127) break;
  }
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...length]), content]);
}

/** Decodes the fields of a message: bytes for wire type 2, numbers for wire type 0. */
function decode(message: Buffer): { number: number; value: Buffer | number }[] {
  const fields: { number: number; value: Buffer | number }[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = message[at++] ?? 0;
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const key = varint();
    const value = varint();
    if ((key & 7) === 2) {
      fields.push({ number: key >>> 3, value: message.subarray(at, at + value) });
      at += value;
    } else fields.push({ number: key >>> 3, value });
  }
  return fields;
}

function texts(message: Buffer, number: number): string[] {
  return decode(message).flatMap((each) =>
    each.number === number && typeof each.value !== 'number' ? [each.value.toString()] : [],
  );
}

/** Calls a method with a message that holds the name of an image. Returns the answer. */
async function callImageService(address: string, method: string, name: string): Promise<Buffer> {
  const spec = field(1, field(1, Buffer.from(name)));
  const frame = Buffer.concat([Buffer.alloc(5), spec]);
  frame.writeUInt32BE(spec.length, 1);
  const session = connectHttp2('http://localhost', { createConnection: () => connect(address) });
  try {
    return await new Promise<Buffer>((done, fail) => {
      const call = session.request({
        ':method': 'POST',
        ':path': `/runtime.v1.ImageService/${method}`,
        'content-type': 'application/grpc',
        te: 'trailers',
      });
      const chunks: Buffer[] = [];
      const check = (headers: IncomingHttpHeaders): void => {
        const status = headers['grpc-status'] ?? '0';
        if (status !== '0') fail(new Error(String(headers['grpc-message'])));
      };
      session.once('error', fail);
      call.once('error', fail);
      call.setTimeout(30_000, () => fail(new Error('containerd did not answer')));
      call.on('response', check);
      call.on('trailers', check);
      call.on('data', (chunk: Buffer) => chunks.push(chunk));
      call.once('end', () => done(Buffer.concat(chunks).subarray(5)));
      call.end(frame);
    });
  } finally {
    session.close();
  }
}

/** Pulls an image as the kubelet does. */
export async function criPull(address: string, name: string): Promise<void> {
  await callImageService(address, 'PullImage', name);
}

/** Asks for the image that a pod names; undefined if the kubelet would have to pull it. */
export async function criImage(address: string, name: string): Promise<CriImage | undefined> {
  const answer = await callImageService(address, 'ImageStatus', name);
  const image = decode(answer).find(({ number }) => number === 1)?.value;
  if (image === undefined || typeof image === 'number') return undefined;
  return {
    id: texts(image, 1)[0] ?? '',
    tags: texts(image, 2),
    digests: texts(image, 3),
    pinned: decode(image).some(({ number, value }) => number === 8 && value === 1),
  };
}

/**
 * Waits for the image that a pod names, and returns it. The kubelet's list of images follows containerd's events, so an image that was just
 * imported may not be in it yet.
 */
export async function importedCriImage(address: string, name: string): Promise<CriImage> {
  let found: CriImage | undefined;
  await until(`${name} is in the kubelet's list`, async () => {
    found = await criImage(address, name);
    return found !== undefined;
  });
  if (found === undefined) throw new Error(name);
  return found;
}
