import { join } from 'node:path';
import { serve, type ServeOptions } from '../../src/serve/serve.js';
import { temp, type Cleanup } from './temp.js';

/** Starts the embedded registry with a new empty store in this process, and returns its `127.0.0.1:PORT`. */
export async function serveStore(t: Cleanup, options: ServeOptions = {}): Promise<string> {
  const serving = await serve({ store: join(temp(t), 'store') }, { port: 0, ...options });
  t.after(() => serving.close());
  return `127.0.0.1:${serving.port}`;
}
