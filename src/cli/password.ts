import { createInterface } from 'node:readline/promises';
import { addAbortSignal, Writable } from 'node:stream';
import { AirliftError } from '../errors.js';
import { standardError } from './output.js';

const maxLength = 64 * 1024;

/** Reads standard input to its end, without the final line break. */
async function readAll(signal: AbortSignal): Promise<string> {
  let text = '';
  for await (const chunk of addAbortSignal(signal, process.stdin)) {
    text += String(chunk);
    if (text.length > maxLength)
      throw new AirliftError(
        'usage',
        `read the password: standard input is longer than ${maxLength} characters`,
      );
  }
  return text.replace(/\r?\n$/, '');
}

/** Asks a question at the terminal; `isHidden` hides the answer. */
async function ask(question: string, isHidden: boolean, signal: AbortSignal): Promise<string> {
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({
    input: process.stdin,
    output: isHidden ? silent : process.stderr,
    terminal: true,
  });
  // readline has turned the echo off by now, so an early answer stays hidden. It would erase a question printed before.
  if (isHidden) standardError.write(question);
  try {
    // readline receives Ctrl-C as a key, not as a signal.
    lines.once('SIGINT', () => process.kill(process.pid, 'SIGINT'));
    return await lines.question(isHidden ? '' : question, { signal });
  } finally {
    lines.close();
    if (isHidden) standardError.write('\n');
  }
}

/** Asks for a password at the terminal. */
export function askPassword(question: string, signal: AbortSignal): Promise<string> {
  return ask(question, true, signal);
}

/**
 * Reads a user name and password from standard input or asks for them at the terminal.
 * @throws AirliftError `usage` if standard input is not a terminal and `fromStdin` is false; `usage` for invalid values
 */
export async function readPassword(
  username: string | undefined,
  fromStdin: boolean,
  signal: AbortSignal,
): Promise<{ username: string; password: string }> {
  if (!fromStdin && !process.stdin.isTTY) {
    throw new AirliftError('usage', 'read the password: standard input is not a terminal', {
      hint: 'airlift login HOST --username USER --password-stdin < FILE',
    });
  }
  if (fromStdin && username === undefined)
    throw new AirliftError('usage', '--password-stdin: also needs --username');
  const user = username ?? (await ask('user name: ', false, signal));
  const password = fromStdin ? await readAll(signal) : await ask('password: ', true, signal);
  if (user === '' || password === '' || user.includes(':'))
    throw new AirliftError('usage', 'log in: want a user name without a colon, and a password');
  return { username: user, password };
}
