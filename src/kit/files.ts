import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AirliftError, messageOf } from '../errors.js';
import { serializeApplication } from './application.js';

/** What the package ships for kits; `.config/build.js` writes it. */
export interface KitFiles {
  /** The application in the form in which Node.js reads it from an executable. */
  readonly application: Buffer;
  readonly version: string;
  /** The instructions, a text with placeholders. */
  readonly readme: string;
  /** The launcher, a shell script with placeholders. */
  readonly launcher: string;
  /** The licences of airlift and of the libraries in it. */
  readonly licenses: Buffer;
}

/** Returns the directory of the files. This module is in dist/src/kit, or bundled in dist/cli. */
function directory(): string {
  const places = ['../../kit/', '../kit/'].map((place) => fileURLToPath(new URL(place, import.meta.url)));
  const found = places.find((place) => existsSync(join(place, 'main.js')));
  if (found !== undefined) return found;
  throw new AirliftError('unsupported', 'build a kit: this airlift does not contain the files for kits', {
    hint: 'run airlift kit where airlift is installed by npm (in a checkout after npm run build); a kit cannot build another kit',
  });
}

/**
 * Reads the files for kits.
 * @throws AirliftError `unsupported` if this airlift does not have them, as in a kit; `io`
 */
export async function readKitFiles(): Promise<KitFiles> {
  const place = directory();
  try {
    const read = (name: string): Promise<Buffer> => readFile(join(place, name));
    const workers = (await readdir(place)).filter((name) => name.endsWith('-worker.js')).sort();
    const assets = new Map<string, Buffer>();
    for (const name of workers) assets.set(name, await read(name));
    const text = async (name: string): Promise<string> => (await read(name)).toString();
    const execArgv = (await text('node-options.txt')).trim().split('\n');
    return {
      application: serializeApplication({ main: await read('main.js'), assets, execArgv }),
      version: (await text('version.txt')).trim(),
      readme: await text('README-FIRST.txt'),
      launcher: await text('launcher.sh'),
      licenses: await read('licenses.txt'),
    };
  } catch (cause) {
    throw new AirliftError('io', `read the files for kits in ${place}: ${messageOf(cause)}`, {
      cause,
      hint: 'reinstall airlift with npm install -g airlift',
    });
  }
}
