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
    // The helper may exit without reading its input; its exit code decides.
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
    `run credential helper ${JSON.stringify(name.slice(0, 80))}: not a valid helper name`,
  );
}

function actionOf(name: string, verb: string, key: string): string {
  return `run ${programOf(name)} ${verb} for ${key}`;
}

async function call(name: string, verb: string, input: string, key: string): Promise<Outcome> {
  const program = programOf(name);
  const action = actionOf(name, verb, key);
  try {
    return await runHelper(program, verb, input);
  } catch (cause) {
    const isMissing = systemCodeOf(cause) === 'ENOENT';
    throw new AirliftError('io', `${action}: ${isMissing ? 'no such program' : messageOf(cause)}`, {
      cause,
      hint: isMissing ? `install ${program}, or remove it from the auth file` : undefined,
    });
  }
}

/** Returns a helper's error message. Docker's protocol puts it on stdout; some helpers use stderr. */
function messageFrom({ stdout, stderr }: Outcome): string {
  return oneLine(stdout.trim() === '' ? stderr : stdout, 300);
}

/** Makes the error for a helper that failed, with its message. */
function helperError(action: string, outcome: Outcome): AirliftError {
  const message = messageFrom(outcome);
  return new AirliftError(
    'io',
    `${action}: failed (${outcome.code ?? 'killed'})${message === '' ? '' : `: ${message}`}`,
  );
}

/**
 * Gets credentials from a credential helper (docker-credential-helpers protocol, `get`).
 * @param name name of the helper, without `docker-credential-`
 * @returns undefined if the helper has no entry for `key`
 * @throws AirliftError `io` if the helper cannot be run or fails, with its message
 */
export async function getFromHelper(name: string, key: string): Promise<Credentials | undefined> {
  const outcome = await call(name, 'get', key, key);
  const action = actionOf(name, 'get', key);
  if (outcome.code !== 0) {
    if (/credentials not found/i.test(messageFrom(outcome))) return undefined;
    throw helperError(action, outcome);
  }
  let json: unknown;
  try {
    json = parseJson(outcome.stdout, 'output');
  } catch {
    // Reported below: the parser's message would quote what may be a secret.
  }
  if (!isObject(json) || typeof json['Username'] !== 'string' || typeof json['Secret'] !== 'string')
    throw new AirliftError('input', `${action}: the output is not a JSON object with Username and Secret`);
  if (json['Secret'] === '') return undefined;
  return json['Username'] === '<token>'
    ? { kind: 'identity-token', token: json['Secret'] }
    : { kind: 'password', username: json['Username'], password: json['Secret'] };
}

/**
 * Stores credentials in a helper (`store`).
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
 * Removes credentials from a helper (`erase`).
 * @throws AirliftError `io`
 */
export async function eraseFromHelper(name: string, key: string): Promise<void> {
  await change(name, 'erase', key, key);
}

async function change(name: string, verb: string, input: string, key: string): Promise<void> {
  const outcome = await call(name, verb, input, key);
  if (outcome.code !== 0) throw helperError(actionOf(name, verb, key), outcome);
}
