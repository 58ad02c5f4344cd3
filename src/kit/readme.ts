import { printable } from '../oci/printable.js';
import type { KitFiles } from './files.js';
import type { KitExecutable } from './summary.js';

/** The name that the text uses when no bundle is beside the kit. */
const anyBundle = 'site.tar';

const machineNames = new Map([
  ['linux/amd64', 'x86_64 (amd64)'],
  ['linux/arm64', 'aarch64 (arm64)'],
]);

/** Quotes a file name for a shell. */
function quoted(name: string): string {
  const path = name.startsWith('-') ? `./${name}` : name;
  return /^[\w./,+@%:=-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

function describe({ platform, file, digest, runtime }: KitExecutable): string {
  return [
    `   ${platform}: airlift/${file}`,
    `    unpacked: ${digest}`,
    `    Node.js ${runtime.version}: ${runtime.program}`,
    `    from npm: ${runtime.package}@${runtime.version}`,
    `     ${runtime.integrity}`,
  ].join('\n');
}

/**
 * Returns the text that a person at the site reads first: `README-FIRST.txt` with its placeholders replaced. It begins with checks by
 * programs of the site, because a program on the medium cannot vouch for the medium. Lines that name a bundle are repeated for each bundle.
 * A paragraph about the image remains only if the kit has one.
 * @param names.bundles file names of bundles in the same directory; names that cannot be typed are left out
 * @param names.images file names of the image in the kit
 */
export function readmeFor(
  { readme, version }: Pick<KitFiles, 'readme' | 'version'>,
  executables: readonly KitExecutable[],
  { bundles, images }: { readonly bundles: readonly string[]; readonly images: readonly string[] },
): string {
  const typable = bundles.filter((name) => printable(name) === name);
  const names = (typable.length > 0 ? typable : [anyBundle]).map(quoted);
  const machines = executables.map(({ platform }) => machineNames.get(platform) ?? platform).join(' or ');
  const values = new Map([
    ['@MACHINES@', machines],
    ['@VERSION@', version],
    ['@EXECUTABLES@', executables.map(describe).join('\n\n')],
    ['@FIRST@', names[0] ?? anyBundle],
  ]);
  const fill = (line: string, bundle: string): string =>
    line.replace(/@[A-Z]+@/g, (name) => (name === '@BUNDLE@' ? bundle : (values.get(name) ?? name)));
  return readme
    .replace(/^@IF-IMAGE@\n(.*?)^@END@\n/ms, images.length > 0 ? '$1' : '')
    .split('\n')
    .flatMap((line) => (line.includes('@BUNDLE@') ? names : [anyBundle]).map((name) => fill(line, name)))
    .join('\n');
}

/** Returns the first line of the text, by which an earlier one is recognized. */
export function readmeHeading({ readme }: Pick<KitFiles, 'readme'>): string {
  return readme.slice(0, readme.indexOf('\n'));
}
