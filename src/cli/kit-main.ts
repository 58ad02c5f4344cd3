/** Starts the command line in an executable of the kit, as bin/airlift.js does in an installation. */
import { main, parser } from './main.js';

function fail(error: unknown): never {
  const message = error instanceof Error ? error.message.split('\n')[0] : String(error);
  process.stderr.write(
    `airlift: ${message}\n  hint: this is a bug in airlift; set AIRLIFT_DEBUG=1 to print the stack trace\n`,
  );
  if (process.env['AIRLIFT_DEBUG'] === '1' && error instanceof Error)
    process.stderr.write(`${error.stack}\n`);
  process.exit(1);
}

async function start(): Promise<void> {
  const args = process.argv.slice(2);
  const built = await parser(args);
  process.on('SIGXFSZ', () => undefined);
  process.on('uncaughtException', fail);
  const code = await main(args, built);
  if (code === 130) process.exit(code);
  process.exitCode = code;
}

start().catch(fail);
