import { spawn } from 'node:child_process';
import { AirliftError, messageOf, systemCodeOf } from '../../errors.js';
import { isObject } from '../../oci/descriptor.js';
import { parseJson } from '../../oci/json.js';
import { oneLine } from '../../oci/printable.js';
import type { Credentials } from '../config/options.js';

const maxOutput = 1024 * 1024;
const timeout = 60_000;
const validName = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function runHelper(program: string, verb: string, input: string): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, [verb], { stdio: 'pipe' });
    const timer = setTimeout(() => child.kill('SIGKILL'), timeout);
    const texts = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => {
        if (texts[name].length < maxOutput) texts[name] += text;
        else child.kill('SIGKILL');
      });
    }
    // It may end without reading; its exit code tells.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.once('close', (code) => {
      clearTimeout(timer);
      resolve({ code, ...texts });
    });
  });
}

function programOf(name: string): string {
  if (validName.test(name)) return `docker-credential-${name}`;
  throw new AirliftError(
    'input',
    `run credential helper ${JSON.stringify(name.slice(0, 80))}: not a helper's name`,
  );
}

async function call(name: string, verb: string, input: string, key: string): Promise<Outcome> {
  const program = programOf(name);
  const doing = `run ${program} ${verb} for ${key}`;
  try {
    return await runHelper(program, verb, input);
  } catch (cause) {
    const isMissing = systemCodeOf(cause) === 'ENOENT';
    throw new AirliftError('io', `${doing}: ${isMissing ? 'no such program' : messageOf(cause)}`, {
      cause,
      hint: isMissing ? `install ${program}, or take it out of the auth file` : undefined,
    });
  }
}

/** What a helper says went wrong: it writes that to its standard output, by docker's protocol, or to stderr. */
function complaint(outcome: Outcome): string {
  const text = outcome.stdout.trim() === '' ? outcome.stderr : outcome.stdout;
  return oneLine(text, 300);
}

/**
 * Asks a credential helper (docker-credential-helpers protocol, `get`).
 * @param name the helper's name, without `docker-credential-`
 * @returns undefined where the helper holds nothing for `key`
 * @throws AirliftError `io` where it can't be run or fails, with what it says
 */
export async function getFromHelper(name: string, key: string): Promise<Credentials | undefined> {
  const outcome = await call(name, 'get', key, key);
  const doing = `run ${programOf(name)} get for ${key}`;
  if (outcome.code !== 0) {
    const said = complaint(outcome);
    if (/credentials not found/i.test(said)) return undefined;
    throw new AirliftError(
      'io',
      `${doing}: failed (${outcome.code ?? 'killed'})${said === '' ? '' : `: ${said}`}`,
    );
  }
  let json: unknown;
  try {
    json = parseJson(outcome.stdout, 'answer');
  } catch {
    // Said below. The parser's own message would quote what may be a secret.
  }
  if (!isObject(json) || typeof json['Username'] !== 'string' || typeof json['Secret'] !== 'string')
    throw new AirliftError('input', `${doing}: the answer is not a JSON object with Username and Secret`);
  if (json['Secret'] === '') return undefined;
  return json['Username'] === '<token>'
    ? { kind: 'identity-token', token: json['Secret'] }
    : { kind: 'password', username: json['Username'], password: json['Secret'] };
}

/**
 * Gives credentials to a helper to keep (`store`).
 * @throws AirliftError `io`
 */
export async function storeInHelper(name: string, key: string, credentials: Credentials): Promise<void> {
  const entry =
    credentials.kind === 'password'
      ? { ServerURL: key, Username: credentials.username, Secret: credentials.password }
      : { ServerURL: key, Username: '<token>', Secret: credentials.token };
  await change(name, 'store', JSON.stringify(entry), key);
}

/**
 * Lets a helper forget credentials (`erase`).
 * @throws AirliftError `io`
 */
export async function eraseFromHelper(name: string, key: string): Promise<void> {
  await change(name, 'erase', key, key);
}

async function change(name: string, verb: string, input: string, key: string): Promise<void> {
  const outcome = await call(name, verb, input, key);
  if (outcome.code === 0) return;
  const said = complaint(outcome);
  throw new AirliftError(
    'io',
    `run ${programOf(name)} ${verb} for ${key}: failed (${outcome.code ?? 'killed'})${said === '' ? '' : `: ${said}`}`,
  );
}
