import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { project } from './bundle.js';

/** Returns the directories of the packages that files belong to. */
function packagesOf(files) {
  const directory = /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/;
  return [...new Set(files.flatMap((file) => directory.exec(file)?.[0] ?? []))];
}

function licenseOf(directory) {
  const path = join(project, directory);
  const { name, version, license, author } = JSON.parse(readFileSync(join(path, 'package.json'), 'utf8'));
  const file = readdirSync(path).find((entry) => /^licen[cs]e/i.test(entry));
  // zstd-codec has no such file.
  const text =
    file === undefined ? `by ${author?.name ?? author}` : readFileSync(join(path, file), 'utf8').trim();
  return { title: `${name} ${version} (${license})`, text };
}

/**
 * Returns the licences of the libraries that bundled files contain parts of.
 * @param files paths of source files, relative to the project, with `/`
 * @param heading the first line
 */
export function licensesOf(files, heading) {
  const licenses = packagesOf(files).map(licenseOf);
  const texts = new Map(licenses.map(({ title, text }) => [title, text]));
  const sections = [...texts].sort().map(([title, text]) => `${'-'.repeat(80)}\n${title}\n\n${text}\n`);
  return `${heading}\n\n${sections.join('\n')}`;
}
