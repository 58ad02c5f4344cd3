import { spawn } from 'node:child_process';
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import { AirliftError, checkInterrupted, messageOf } from '../errors.js';
import { oneLine } from '../oci/printable.js';
import { maxSignatureFile } from './minisign-text.js';
import type { SignedContent } from './signatures.js';

/**
 * Runs a command line in the shell, as git runs `GIT_SSH_COMMAND`: writes the content to its standard input and reads a signature from its
 * standard output. Its messages and questions go to standard error.
 * @throws AirliftError `input` if it fails or prints no signature; `interrupted`
 */
export async function signWithProgram(
  command: string,
  content: SignedContent,
  signal?: AbortSignal,
): Promise<Buffer> {
  const attempted = `sign with ${oneLine(command, 200)}`;
  const child = spawn(command, { shell: true, stdio: ['pipe', 'pipe', 'inherit'], signal });
  const output: Buffer[] = [];
  let length = 0;
  child.stdout.on('data', (chunk: Buffer) => {
    length += chunk.length;
    if (length <= maxSignatureFile) output.push(chunk);
    else child.kill();
  });
  const ended = new Promise<number | string>((done, fail) => {
    child.once('error', fail);
    child.once('close', (code, killed) => done(code ?? killed ?? 'unknown'));
  });
  // The program may end without reading all of its input; its exit code decides.
  const fed = pipeline(Readable.from(content()), child.stdin).catch(() => undefined);
  let code: number | string;
  try {
    [code] = await Promise.all([ended, fed]);
  } catch (cause) {
    checkInterrupted(signal, attempted);
    throw new AirliftError('input', `${attempted}: ${messageOf(cause)}`, { cause });
  }
  checkInterrupted(signal, attempted);
  if (length > maxSignatureFile)
    throw new AirliftError('input', `${attempted}: the signature is larger than ${maxSignatureFile} bytes`);
  if (code !== 0) throw new AirliftError('input', `${attempted}: the program failed (exit code ${code})`);
  if (length === 0)
    throw new AirliftError('input', `${attempted}: the program printed no signature`, {
      hint: 'it must read the content from standard input and print the signature: openssl dgst -sha256 -sign KEY.pem',
    });
  return Buffer.concat(output);
}
