/**
 * Runs a slow link in a process of its own and prints its address:
 *
 *     node dist/test/bench/slow-link-process.js UPSTREAM BYTES_PER_SECOND MILLISECONDS
 */
import { startSlowLink } from './slow-link.js';

const [upstream = '', bytesPerSecond, delay] = process.argv.slice(2);
const { host } = await startSlowLink({
  upstream,
  bytesPerSecond: Number(bytesPerSecond),
  delay: Number(delay),
});
console.log(`listening on ${host}`);
