import { AirliftError } from '../errors.js';
import { parseRegex } from '../lists/regex.js';
import { entriesOf, itemsOf, textOf, yamlDocuments, type YamlNode } from '../lists/yaml.js';
import { printable } from '../oci/printable.js';
import { formatReference, formatRepository, type Reference } from '../oci/reference.js';
import type { WantedIdentity } from '../signing/keyless.js';
import { parsePublicKey, type PublicKey } from '../signing/public-key.js';
import { parseGlob, type Glob } from './glob.js';
import { readText } from './read-text.js';

/** A ClusterImagePolicy of sigstore's policy-controller: who must have signed the images that it matches. */
export interface ImagePolicy {
  /** Printable. */
  readonly name: string;
  readonly globs: readonly Glob[];
  /** One of `keys` or `identities` must have signed. */
  readonly keys: readonly PublicKey[];
  readonly identities: readonly WantedIdentity[];
  /** Whether one of its authorities accepts all images, signed or not. */
  readonly passes: boolean;
  /** What it says about images that it rejects, printable. */
  readonly message: string | undefined;
  /** Whether it accepts images that do not meet it, with a warning. */
  readonly onlyWarns: boolean;
}

/** The most bytes of a file of policies. */
const maxFile = 1024 * 1024;

/** The most policies in a file. */
const maxPolicies = 100;

/** The most patterns, authorities and identities in a file, all together. */
const maxItems = 1000;

/** The most characters of a key. */
const maxKey = 16 * 1024;

/** The most characters of a glob, name or message. */
const maxText = 512;

const apiVersions = ['policy.sigstore.dev/v1beta1', 'policy.sigstore.dev/v1alpha1'];

/** Reports whether a policy is about an image. */
export function matches({ globs }: ImagePolicy, reference: Reference): boolean {
  const names = namesOf(reference);
  return globs.some((glob) => names.some(glob));
}

/**
 * Returns the names by which pods may ask for an image: globs of policy-controller match the complete name, or the name as it is written.
 * Docker Hub is `index.docker.io` in complete names.
 */
function namesOf(reference: Reference): readonly string[] {
  const { registry, repository, tag, digest } = reference;
  const names = [formatReference(reference)];
  if (digest !== undefined) names.push(`${formatRepository(reference)}@${digest}`);
  else if (tag === undefined || tag === 'latest') names.push(formatRepository(reference));
  if (digest === undefined && tag === undefined) names.push(`${formatRepository(reference)}:latest`);
  if (registry !== 'docker.io') return names;
  const paths = names.map((name) => name.slice('docker.io/'.length));
  const short = repository.startsWith('library/') ? paths.map((path) => path.slice('library/'.length)) : [];
  return [...names, ...paths.map((path) => `index.docker.io/${path}`), ...paths, ...short];
}

/**
 * Reads the policies of a file.
 * @throws AirliftError `input` for a malformed policy, `unsupported` for one that asks for more than airlift checks, `usage`, `io`
 */
export async function readPolicies(path: string): Promise<readonly ImagePolicy[]> {
  const file = `policy ${printable(path)}`;
  const text = await readText(path, file, maxFile);
  const parser = new PolicyParser(file);
  const policies = new Map<string, ImagePolicy>();
  const wrong = (line: number, message: string): never => {
    throw parser.error(line, printable(message));
  };
  for (const document of yamlDocuments(text, file, { mistake: wrong, remark: wrong })) {
    // An empty document, as after a comment.
    if (document.kind === 'scalar' && textOf(document) === undefined) continue;
    const policy = parser.parse(document);
    if (policies.has(policy.name)) throw parser.error(document.line, `a second policy ${policy.name}`);
    policies.set(policy.name, policy);
    if (policies.size > maxPolicies) throw parser.error(document.line, `more than ${maxPolicies} policies`);
  }
  if (policies.size === 0)
    throw new AirliftError('input', `read ${file}: no policy; want documents of kind ClusterImagePolicy`);
  return [...policies.values()];
}

/** What the authorities of a policy accept. */
interface Accepting {
  readonly keys: PublicKey[];
  readonly identities: WantedIdentity[];
  passes: boolean;
  message: string | undefined;
}

/** Parses policies strictly: a field that is ignored would let images pass that its author wants to reject. */
class PolicyParser {
  #items = 0;

  /** @param file its name, for errors */
  constructor(private readonly file: string) {}

  error(line: number, why: string, hint?: string): AirliftError {
    return new AirliftError('input', `read ${this.file}:${line}: ${why}`, { hint });
  }

  parse(document: YamlNode): ImagePolicy {
    // The kind comes first: fields of another one say nothing.
    const kind = entriesOf(document).find(([key]) => key === 'kind')?.[1];
    if (textOf(kind) !== 'ClusterImagePolicy')
      throw this.error(document.line, 'not a ClusterImagePolicy', 'want documents of that kind only');
    const fields = this.#fields(document, '', ['apiVersion', 'kind', 'metadata', 'spec', 'status']);
    this.#choice(fields, 'apiVersion', apiVersions, document);
    const metadata = fields.get('metadata');
    const name = textOf(entriesOf(metadata).find(([key]) => key === 'name')?.[1]);
    if (name === undefined) throw this.#missing(metadata ?? document, 'metadata.name');
    const specNode = fields.get('spec') ?? document;
    const spec = this.#fields(specNode, 'spec', ['images', 'authorities', 'mode']);
    const globs = this.#list(spec, 'images', specNode).map((node) => this.#glob(node));
    const accepting: Accepting = { keys: [], identities: [], passes: false, message: undefined };
    for (const node of this.#list(spec, 'authorities', specNode)) this.#authority(node, accepting);
    const mode = spec.has('mode') ? this.#choice(spec, 'mode', ['enforce', 'warn'], specNode) : 'enforce';
    return { name: this.#short(name, metadata ?? document), globs, onlyWarns: mode === 'warn', ...accepting };
  }

  #glob(node: YamlNode): Glob {
    const text = this.#text(this.#fields(node, 'spec.images', ['glob']), 'glob', node);
    const glob = parseGlob(text);
    if (typeof glob === 'string') throw this.error(node.line, glob);
    return glob;
  }

  #authority(node: YamlNode, accepting: Accepting): void {
    const where = 'spec.authorities';
    const fields = this.#fields(node, where, ['name', 'key', 'keyless', 'static']);
    const [one, ...more] = ['key', 'keyless', 'static'].flatMap((kind) => {
      const value = fields.get(kind);
      return value === undefined ? [] : [{ kind, value }];
    });
    if (one === undefined || more.length > 0)
      throw this.error(node.line, `want one of key, keyless, static in ${where}`);
    const { kind, value } = one;
    if (kind === 'key') accepting.keys.push(this.#key(value, `${where}.key`));
    else if (kind === 'keyless') {
      const keyless = this.#fields(value, `${where}.keyless`, ['identities']);
      for (const identity of this.#list(keyless, 'identities', value))
        accepting.identities.push(this.#identity(identity, `${where}.keyless.identities`));
    } else {
      const rule = this.#fields(value, `${where}.static`, ['action', 'message']);
      if (this.#choice(rule, 'action', ['pass', 'fail'], value) === 'pass') accepting.passes = true;
      else accepting.message ??= rule.has('message') ? this.#text(rule, 'message', value) : undefined;
    }
  }

  #key(node: YamlNode, where: string): PublicKey {
    const fields = this.#fields(node, where, ['data', 'hashAlgorithm']);
    if (fields.has('hashAlgorithm')) this.#choice(fields, 'hashAlgorithm', ['sha256'], node);
    const pem = textOf(fields.get('data'));
    if (pem === undefined) throw this.#missing(node, `${where}.data`);
    if (pem.includes('PRIVATE KEY-----'))
      throw this.error(node.line, `a secret key in ${where}.data; want the public key`);
    if (!pem.includes('-----BEGIN')) throw this.error(node.line, `want a public key in PEM in ${where}.data`);
    if (pem.length > maxKey) throw this.error(node.line, `a key has more than ${maxKey} characters`);
    return parsePublicKey(Buffer.from(pem), `in ${this.file}:${node.line}`);
  }

  #identity(node: YamlNode, where: string): WantedIdentity {
    const fields = this.#fields(node, where, ['issuer', 'issuerRegExp', 'subject', 'subjectRegExp']);
    return {
      isSubject: this.#matcher(fields, 'subject', node),
      isIssuer: this.#matcher(fields, 'issuer', node),
    };
  }

  /** Returns a test for exactly a text, or for a regular expression that matches anywhere. */
  #matcher(fields: ReadonlyMap<string, YamlNode>, name: string, node: YamlNode): (value: string) => boolean {
    const [text, regexp] = [textOf(fields.get(name)), textOf(fields.get(`${name}RegExp`))];
    if (text !== undefined && regexp !== undefined)
      throw this.error(node.line, `want one of ${name}, ${name}RegExp`);
    if (text !== undefined) return (value) => value === text;
    if (regexp === undefined)
      throw this.error(
        node.line,
        `missing ${name} or ${name}RegExp: a certificate of anybody proves nothing`,
      );
    try {
      const pattern = parseRegex(regexp);
      return (value) => pattern.test(value);
    } catch (error) {
      if (error instanceof AirliftError) throw this.error(node.line, error.message);
      throw error;
    }
  }

  /** Returns the fields of a map, all of which must be known. */
  #fields(node: YamlNode, where: string, known: readonly string[]): ReadonlyMap<string, YamlNode> {
    if (node.kind !== 'map') throw this.error(node.line, `want fields in ${where || 'the document'}`);
    for (const [key, { line }] of node.entries)
      if (!known.includes(key)) {
        const path = `${where === '' ? '' : `${where}.`}${this.#short(key, node)}`;
        throw new AirliftError('unsupported', `read ${this.file}:${line}: airlift does not check ${path}`, {
          hint: hints[path] ?? 'remove the field, if the policy is strict enough without it',
        });
      }
    return new Map(node.entries);
  }

  #list(fields: ReadonlyMap<string, YamlNode>, name: string, node: YamlNode): readonly YamlNode[] {
    const items = itemsOf(fields.get(name));
    if (items.length === 0) throw this.#missing(fields.get(name) ?? node, `list of ${name}`);
    this.#items += items.length;
    if (this.#items > maxItems)
      throw this.error(node.line, `more than ${maxItems} patterns, authorities and identities`);
    return items;
  }

  #text(fields: ReadonlyMap<string, YamlNode>, name: string, node: YamlNode): string {
    const text = textOf(fields.get(name));
    if (text === undefined) throw this.#missing(node, name);
    return this.#short(text, node);
  }

  #choice(
    fields: ReadonlyMap<string, YamlNode>,
    name: string,
    choices: readonly string[],
    node: YamlNode,
  ): string {
    const text = this.#text(fields, name, node);
    if (choices.includes(text)) return text;
    const wrong = `unsupported ${name} ${text}; want ${choices.join(' or ')}`;
    throw new AirliftError(
      'unsupported',
      `read ${this.file}:${fields.get(name)?.line ?? node.line}: ${wrong}`,
    );
  }

  /** Returns a text that may be printed. */
  #short(text: string, { line }: YamlNode): string {
    if (text.length > maxText) throw this.error(line, `a text has more than ${maxText} characters`);
    return printable(text);
  }

  #missing({ line }: YamlNode, what: string): AirliftError {
    return this.error(line, `missing ${what}`);
  }
}

const fromRoot = 'remove it: authorities, logs and timestamps come from the trusted root';

/** What to do about fields that policies often have. */
const hints: Readonly<Record<string, string>> = {
  'spec.authorities.ctlog': fromRoot,
  'spec.authorities.keyless.url': fromRoot,
  'spec.authorities.keyless.ca-cert': fromRoot,
  'spec.authorities.keyless.trustRootRef': fromRoot,
  'spec.authorities.rfc3161timestamp': fromRoot,
  'spec.authorities.source': 'remove it: signatures are those that travel in the bundle',
  'spec.authorities.key.secretRef': 'write the public key in PEM into the policy, as data',
  'spec.authorities.key.kms': 'write the public key in PEM into the policy, as data',
};
