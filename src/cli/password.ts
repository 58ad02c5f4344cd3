import { createInterface } from 'node:readline/promises';
import { addAbortSignal, Writable } from 'node:stream';
import { AirliftError } from '../errors.js';
import { standardError } from './output.js';

const longest = 64 * 1024;

/** All of standard input, without the end of its last line. */
async function readAll(signal: AbortSignal): Promise<string> {
  let text = '';
  for await (const chunk of addAbortSignal(signal, process.stdin)) {
    text += String(chunk);
    if (text.length > longest)
      throw new AirliftError('usage', 'read the password: standard input is too long');
  }
  return text.replace(/\r?\n$/, '');
}

/** Asks a person; what they type is not shown where it is `hidden`. */
async function ask(question: string, hidden: boolean, signal: AbortSignal): Promise<string> {
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({
    input: process.stdin,
    output: hidden ? silent : process.stderr,
    terminal: true,
  });
  // Only now does the terminal echo nothing: who answers at once is not shown either. readline would take the question off its line.
  if (hidden) standardError.write(question);
  try {
    // A terminal that is read line by line gives Ctrl-C as a key, not as a signal.
    lines.once('SIGINT', () => process.kill(process.pid, 'SIGINT'));
    return await lines.question(hidden ? '' : question, { signal });
  } finally {
    lines.close();
    if (hidden) standardError.write('\n');
  }
}

/**
 * A user name and password from standard input: as a whole, or asked for at a terminal.
 * @throws AirliftError `usage` where there is nobody to ask
 */
export async function readPassword(
  username: string | undefined,
  fromStdin: boolean,
  signal: AbortSignal,
): Promise<{ username: string; password: string }> {
  if (!fromStdin && !process.stdin.isTTY) {
    throw new AirliftError('usage', 'read the password: standard input is no terminal', {
      hint: 'airlift login HOST --username USER --password-stdin < FILE',
    });
  }
  if (fromStdin && username === undefined)
    throw new AirliftError('usage', '--password-stdin: needs --username too');
  const user = username ?? (await ask('user name: ', false, signal));
  const password = fromStdin ? await readAll(signal) : await ask('password: ', true, signal);
  if (user === '' || password === '' || user.includes(':'))
    throw new AirliftError('usage', 'log in: a user name without colon, and a password, are needed');
  return { username: user, password };
}
