import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { ioError } from '../bundle/format/io-error.js';
import { AirliftError, checkInterrupted } from '../errors.js';

/**
 * Hashes a file as the medium returns it, not as the system's cache does: Node.js cannot read past the cache, GNU dd can (`O_DIRECT`).
 * @returns the SHA-256 in hexadecimal; undefined if dd is missing or the filesystem refuses
 * @throws AirliftError `interrupted`
 */
export async function digestFromMedium(
  path: string,
  onProgress: (bytes: number) => void,
  signal?: AbortSignal,
): Promise<string | undefined> {
  checkInterrupted(signal, `read back ${path}`);
  const dd = spawn('dd', [`if=${path}`, 'iflag=direct', 'bs=4M'], { stdio: ['ignore', 'pipe', 'ignore'] });
  const stop = (): void => void dd.kill('SIGKILL');
  signal?.addEventListener('abort', stop);
  try {
    const ended = new Promise<number | null>((resolve) => {
      dd.once('error', () => resolve(null));
      dd.once('close', resolve);
    });
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const chunk of dd.stdout as AsyncIterable<Buffer>) {
      hash.update(chunk);
      bytes += chunk.length;
      onProgress(bytes);
    }
    const code = await ended;
    checkInterrupted(signal, `read back ${path}`);
    return code === 0 ? hash.digest('hex') : undefined;
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

/**
 * Hashes a file as the system returns it.
 * @returns the SHA-256 in hexadecimal
 * @throws AirliftError `interrupted`, `io`
 */
export async function digestOfFile(
  path: string,
  onProgress: (bytes: number) => void,
  signal?: AbortSignal,
): Promise<string> {
  checkInterrupted(signal, `read back ${path}`);
  const hash = createHash('sha256');
  let bytes = 0;
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) {
      checkInterrupted(signal, `read back ${path}`);
      hash.update(chunk as Buffer);
      bytes += (chunk as Buffer).length;
      onProgress(bytes);
    }
  } catch (error) {
    throw error instanceof AirliftError ? error : ioError(`read back ${path}`, error);
  }
  return hash.digest('hex');
}
