/** Writes the bundle of resume.test.ts, chunk by chunk, until it is killed. Arguments: the path, milliseconds between chunks. */
import { setTimeout as sleep } from 'node:timers/promises';
import { BundleWriter } from '../../../src/bundle/write/writer.js';
import { resumed } from './resumed.js';
import { fill, options, plan } from '../write-bundle.js';

const [path = '', wait = '0'] = process.argv.slice(2);
const writer = await BundleWriter.open(path, options);
process.stdout.write(`${writer.state}\n`);
if (writer.state === 'planning') plan(writer, resumed());
await writer.layOut();
process.stdout.write('laid-out\n');
let chunks = 0;
await fill(writer, resumed(), {
  onChunk: async () => {
    process.stdout.write(`chunk ${++chunks}\n`);
    // Slows the writer down, so that it can be killed between two chunks.
    await sleep(Number(wait));
  },
});
await writer.finish();
