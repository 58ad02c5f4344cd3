/** `npm run kit:local`: builds a kit for this machine in dist/kit-local. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildLocalKit } from './local-kit.js';

const output = fileURLToPath(new URL('../../kit-local', import.meta.url));
try {
  const { directory, executables } = await buildLocalKit(output);
  for (const { runtime } of executables) console.log(`Node.js ${runtime.version} from ${runtime.package}`);
  console.log(`sh ${join(directory, 'airlift')} --version`);
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
