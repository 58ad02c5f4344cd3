import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';

/** Begins a download on a connection of its own and reads nothing of the body. */
export async function beginDownload(
  url: string,
  headers: Record<string, string> = {},
): Promise<IncomingMessage> {
  const sent = request(url, { agent: false, headers }).end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  return response;
}

/** Reads the rest of a body. Rejects if the server breaks the transfer off. */
export async function readBody(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
