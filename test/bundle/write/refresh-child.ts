/** Plans and lays out the bundle of refresh.test.ts again, until it is killed. Argument: the path. */
import { BundleWriter } from '../../../src/bundle/write/writer.js';
import { second } from './refreshed.js';
import { options, plan } from '../write-bundle.js';

const [path = ''] = process.argv.slice(2);
const writer = await BundleWriter.open(path, { ...options, fingerprint: 'second', refresh: true });
if (writer.state === 'planning') plan(writer, second);
process.stdout.write('planned\n');
await writer.layOut();
process.stdout.write('laid-out\n');
await writer.close();
