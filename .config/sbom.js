import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { project } from './bundle.js';

function read(file) {
  return JSON.parse(readFileSync(join(project, file), 'utf8'));
}

/** Returns the hash of a package's tarball from its Subresource Integrity. */
function hashOf(integrity) {
  const [algorithm, base64] = integrity.split('-');
  return { alg: algorithm.replace('sha', 'SHA-'), content: Buffer.from(base64, 'base64').toString('hex') };
}

/** Returns what airlift and its dependencies consist of, without development dependencies: CycloneDX 1.6 in JSON, the same for the same lock file. */
export function sbom() {
  const { name, version, license } = read('package.json');
  const locked = Object.entries(read('package-lock.json').packages);
  const components = locked
    .filter(([path, { dev, devOptional }]) => path !== '' && !dev && !devOptional)
    .map(([path, { version: found, license: terms, integrity }]) => {
      const title = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
      return {
        type: 'library',
        'bom-ref': path,
        name: title,
        version: found,
        licenses: [terms.includes(' ') ? { expression: terms } : { license: { id: terms } }],
        purl: `pkg:npm/${title.replace('@', '%40')}@${found}`,
        hashes: [hashOf(integrity)],
      };
    });
  const component = {
    type: 'application',
    'bom-ref': name,
    name,
    version,
    licenses: [{ license: { id: license } }],
    purl: `pkg:npm/${name}@${version}`,
  };
  return `${JSON.stringify({ bomFormat: 'CycloneDX', specVersion: '1.6', version: 1, metadata: { component }, components }, undefined, 1)}\n`;
}
