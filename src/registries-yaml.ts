import { readFile } from 'node:fs/promises';
import { AirliftError, messageOf } from './errors.js';
import { yamlDocuments, type YamlNode } from './lists/yaml.js';
import { parseK3sRegistries, type K3sRegistries } from './registry/config/k3s-registries.js';

function plain(node: YamlNode): unknown {
  switch (node.kind) {
    case 'scalar':
      return node.text === '' || node.text === '~' ? null : node.text;
    case 'list':
      return node.items.map(plain);
    case 'map':
      return Object.fromEntries(node.entries.map(([key, value]) => [key, plain(value)]));
  }
}

/**
 * Reads a k3s or RKE2 `registries.yaml`: mirrors, credentials and certificates of registries.
 * @throws AirliftError `io` where it can't be read, `input` where it is malformed
 */
export async function readRegistriesYaml(path: string): Promise<K3sRegistries> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new AirliftError('io', `read ${path}: ${messageOf(cause)}`, { cause });
  }
  const mistake = (line: number): never => {
    // The parser's own words may quote the line, and passwords stand in such files.
    throw new AirliftError('input', `parse ${path}: not YAML in line ${line}`);
  };
  const [document] = yamlDocuments(text, path, { mistake, remark: () => undefined });
  return parseK3sRegistries(document === undefined ? null : plain(document), path);
}
