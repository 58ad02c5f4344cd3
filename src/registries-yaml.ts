import { readFile } from 'node:fs/promises';
import { AirliftError, messageOf } from './errors.js';
import { yamlDocuments, type YamlNode } from './lists/yaml.js';
import { parseK3sRegistries, type K3sRegistries } from './registry/config/k3s-registries.js';

/** Converts a YAML node to plain data; numbers and booleans stay text. */
function toData(node: YamlNode): unknown {
  switch (node.kind) {
    case 'scalar':
      return node.text === '' || node.text === '~' ? null : node.text;
    case 'list':
      return node.items.map(toData);
    case 'map':
      return Object.fromEntries(node.entries.map(([key, value]) => [key, toData(value)]));
  }
}

/**
 * Reads a k3s or RKE2 `registries.yaml`: mirrors, credentials and certificates of registries.
 * @throws AirliftError `io` if it cannot be read, `input` if it is malformed
 */
export async function readRegistriesYaml(path: string): Promise<K3sRegistries> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new AirliftError('io', `read ${path}: ${messageOf(cause)}`, { cause });
  }
  const mistake = (line: number): never => {
    // The parser's message may quote the line, and such files contain passwords.
    throw new AirliftError('input', `parse ${path}: invalid YAML in line ${line}`);
  };
  const [document] = yamlDocuments(text, path, { mistake, remark: () => undefined });
  return parseK3sRegistries(document === undefined ? null : toData(document), path);
}
