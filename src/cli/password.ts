import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { AirliftError } from '../errors.js';
import { standardError } from './output.js';

const longest = 64 * 1024;

/** All of standard input, without the end of its last line. */
async function readAll(): Promise<string> {
  let text = '';
  for await (const chunk of process.stdin) {
    text += String(chunk);
    if (text.length > longest)
      throw new AirliftError('usage', 'read the password: standard input is too long');
  }
  return text.replace(/\r?\n$/, '');
}

/** Asks a person; what they type is not shown where it is `hidden`. */
async function ask(question: string, hidden: boolean): Promise<string> {
  standardError.write(question);
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({
    input: process.stdin,
    output: hidden ? silent : process.stderr,
    terminal: true,
  });
  try {
    return await lines.question('');
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
): Promise<{ username: string; password: string }> {
  if (!fromStdin && !process.stdin.isTTY) {
    throw new AirliftError('usage', 'read the password: standard input is no terminal', {
      hint: 'airlift login HOST --username USER --password-stdin < FILE',
    });
  }
  if (fromStdin && username === undefined)
    throw new AirliftError('usage', '--password-stdin: needs --username too');
  const user = username ?? (await ask('user name: ', false));
  const password = fromStdin ? await readAll() : await ask('password: ', true);
  if (user === '' || password === '' || user.includes(':'))
    throw new AirliftError('usage', 'log in: a user name without colon, and a password, are needed');
  return { username: user, password };
}
