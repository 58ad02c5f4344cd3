import {
  Composer,
  isAlias,
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  Parser,
  type CST,
  type Document,
  type ParsedNode,
} from 'yaml';
import { AirliftError } from '../errors.js';

/**
 * A YAML node with its line. Scalars are text (YAML 1.2.2, section 10.1, failsafe schema), so that a tag such as `1.20` does not
 * become the number 1.2. An alias is the same object as its target, so a tree of aliases needs no memory.
 */
export type YamlNode = YamlScalar | YamlList | YamlMap;

export interface YamlScalar {
  readonly kind: 'scalar';
  readonly line: number;
  readonly text: string;
  /** Whether the text is a block (`|` or `>`), which begins in the line after the node's. */
  readonly isBlock: boolean;
}

export interface YamlList {
  readonly kind: 'list';
  readonly line: number;
  readonly items: readonly YamlNode[];
}

export interface YamlMap {
  readonly kind: 'map';
  readonly line: number;
  /** Keys and values in their order; entries from merge keys (`<<`) come last. */
  readonly entries: readonly Entry[];
}

/** Maximum depth of nested collections. Real CRDs reach about 40. */
const maxDepth = 200;
/**
 * Maximum number of characters in one document: its tree needs about a hundred times as many bytes. A stream may have any
 * number of documents.
 */
const maxDocumentLength = 4 * 1024 * 1024;
/** Maximum number of entries from merge keys in one stream. */
const maxMerged = 1_000_000;
/** Maximum number of mistakes reported for one stream. */
const maxMistakes = 100;

/** Receives a message about a line. */
export type OnLine = (line: number, message: string) => void;

/** Receives what the YAML reader reports in addition to the documents. */
export interface YamlRemarks {
  /** Called for invalid YAML; its document is skipped. */
  readonly mistake: OnLine;
  /** Called for valid YAML that may not mean what its author intends. */
  readonly remark: OnLine;
}

/** Returns the value of a key; a map's own key takes precedence over a merged one. */
export function valueOf(node: YamlNode | undefined, key: string): YamlNode | undefined {
  return node?.kind === 'map' ? node.entries.find(([name]) => name === key)?.[1] : undefined;
}

/** Returns the text of a scalar; undefined if it is null or empty. */
export function textOf(node: YamlNode | undefined): string | undefined {
  if (node?.kind !== 'scalar' || node.text === '' || node.text === '~' || node.text === 'null')
    return undefined;
  return node.text;
}

/** Returns the items of a list; none for other nodes. */
export function itemsOf(node: YamlNode | undefined): readonly YamlNode[] {
  return node?.kind === 'list' ? node.items : [];
}

/** Returns the keys and values of a map; none for other nodes. */
export function entriesOf(node: YamlNode | undefined): readonly Entry[] {
  return node?.kind === 'map' ? node.entries : [];
}

function isCollection(
  token: CST.Token | null | undefined,
): token is CST.BlockMap | CST.BlockSequence | CST.FlowCollection {
  return token?.type === 'block-map' || token?.type === 'block-seq' || token?.type === 'flow-collection';
}

/**
 * Refuses nesting that would overflow the stack when the document is composed or walked: V8 then may end the process instead of
 * throwing an error.
 */
function checkDepth(token: CST.Token, lineAt: (offset: number) => number, file: string): void {
  if (token.type !== 'document' || !isCollection(token.value)) return;
  const stack: [CST.BlockMap | CST.BlockSequence | CST.FlowCollection, number][] = [[token.value, 1]];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const [collection, depth] = next;
    if (depth > maxDepth) {
      throw new AirliftError(
        'usage',
        `read ${file}:${lineAt(collection.offset)}: YAML is nested more than ${maxDepth} deep`,
      );
    }
    for (const item of collection.items) {
      if (isCollection(item.key)) stack.push([item.key, depth + 1]);
      if (isCollection(item.value)) stack.push([item.value, depth + 1]);
    }
  }
}

/** Refuses a document that is too large, before parsing: a line that starts with `---` starts the next document. */
function checkLength(text: string, file: string): void {
  for (let start = 0; start < text.length;) {
    const next = text.indexOf('\n---', start);
    const end = next < 0 ? text.length : next + 1;
    if (end - start > maxDocumentLength) {
      throw new AirliftError(
        'usage',
        `read ${file}: a YAML document is too large; got ${end - start} characters, want at most ${maxDocumentLength}`,
        { hint: 'split it, or write its images to a text list' },
      );
    }
    start = end;
  }
}

type Entry = readonly [key: string, value: YamlNode];

/** Returns the merged entries without keys of the map itself or of earlier merged entries. */
function withoutKeysOf(own: readonly Entry[], merged: readonly Entry[]): Entry[] {
  const keys = new Set(own.map(([key]) => key));
  return merged.filter(([key]) => !keys.has(key) && keys.add(key));
}

/** Converts one composed document to nodes. Anchors are valid in one document (YAML 1.2.2, section 6.9.2). */
class Converter {
  readonly #anchors = new Map<string, YamlNode>();
  readonly #merged: { keys: number };

  constructor(
    readonly lineAt: (offset: number) => number,
    readonly remarks: YamlRemarks,
    merged: { keys: number },
  ) {
    this.#merged = merged;
  }

  convert(node: ParsedNode | null, offset: number): YamlNode {
    const line = this.lineAt(node?.range[0] ?? offset);
    const result = this.#convert(node, line);
    // After the conversion, because an alias inside its own node would make a cycle.
    if (node !== null && !isAlias(node) && node.anchor !== undefined) this.#anchors.set(node.anchor, result);
    return result;
  }

  #convert(node: ParsedNode | null, line: number): YamlNode {
    if (isAlias(node)) {
      const target = this.#anchors.get(node.source);
      if (target !== undefined) return target;
      this.remarks.mistake(line, `the alias *${node.source} has no earlier anchor`);
    }
    if (isSeq(node)) {
      return {
        kind: 'list',
        line,
        items: node.items.map((item) =>
          this.convert(isPair(item) ? null : (item as ParsedNode), node.range[0]),
        ),
      };
    }
    if (isMap(node)) {
      const own: Entry[] = [];
      const merged: Entry[] = [];
      for (const pair of node.items) {
        const keyNode = pair.key as ParsedNode | null;
        const value = this.convert(pair.value as ParsedNode | null, keyNode?.range[0] ?? node.range[0]);
        const key = isScalar(keyNode) && typeof keyNode.value === 'string' ? keyNode.value : '';
        if (key === '<<') this.#merge(value, merged);
        else own.push([key, value]);
      }
      const unique = this.#lastOfEach(own);
      return {
        kind: 'map',
        line,
        entries: merged.length === 0 ? unique : [...unique, ...withoutKeysOf(unique, merged)],
      };
    }
    return {
      kind: 'scalar',
      line,
      text: isScalar(node) && typeof node.value === 'string' ? node.value : '',
      isBlock: isScalar(node) && (node.type === 'BLOCK_LITERAL' || node.type === 'BLOCK_FOLDED'),
    };
  }

  /** Keeps the last entry of each key, as kubectl and helm do. */
  #lastOfEach(entries: readonly Entry[]): readonly Entry[] {
    const last = new Map(entries);
    if (last.size === entries.length) return entries;
    const seen = new Set<string>();
    for (const [key, { line }] of entries) {
      if (seen.has(key) && key !== '')
        this.remarks.remark(
          line,
          `the key ${JSON.stringify(key.slice(0, 80))} is repeated; its last value counts`,
        );
      seen.add(key);
    }
    return [...last];
  }

  #merge(value: YamlNode, into: Entry[]): void {
    for (const source of value.kind === 'list' ? value.items : [value]) {
      const entries = entriesOf(source);
      this.#merged.keys += entries.length;
      if (this.#merged.keys > maxMerged) {
        throw new AirliftError(
          'usage',
          `read YAML at line ${value.line}: merge keys expand to more than ${maxMerged} keys`,
        );
      }
      into.push(...entries);
    }
  }
}

/** Maximum number of repairs of quoted text in one stream: each repair parses its document again. */
const maxRepairs = 200;

/** Returns the position where quoted text ends because the next line has too little indentation; undefined if there is none. */
function endOfUnderindentedQuote(document: Document.Parsed): number | undefined {
  return document.errors.find(
    ({ code, message }) => code === 'MISSING_CHAR' && /^Missing closing ['"]quote/.test(message),
  )?.pos[0];
}

/** Returns the range of the document that contains a position, from its marker to the next one. */
function rangeOfDocument(text: string, at: number): readonly [start: number, end: number] {
  const start = text.lastIndexOf('\n---', at);
  const end = text.indexOf('\n---', at);
  return [start < 0 ? 0 : start + 1, end < 0 ? text.length : end + 1];
}

/**
 * Reads a stream of YAML 1.2 documents, including JSON, one at a time. Accepts quoted text with too little indentation, as go-yaml
 * and therefore kubectl do. Reports and skips documents with mistakes.
 * @param file the stream's name in errors
 * @param lineOf converts a line of the text (counted from 1) to the line of the file that contains it
 * @throws AirliftError `usage` if a document is too large or nested too deep, or merge keys expand too far
 */
export function* yamlDocuments(
  text: string,
  file: string,
  onLine: YamlRemarks,
  lineOf = (line: number): number => line,
): Generator<YamlNode> {
  checkLength(text, file);
  let mistakes = 0;
  const remarks: YamlRemarks = {
    ...onLine,
    mistake: (line, message) => {
      if (mistakes++ < maxMistakes) onLine.mistake(line, message);
    },
  };
  yield* readStream(text, {
    file,
    firstLine: 1,
    lineOf,
    remarks,
    merged: { keys: 0 },
    repairs: { left: maxRepairs },
  });
}

interface Reading {
  readonly file: string;
  /** The line of the whole text at which this part begins. */
  readonly firstLine: number;
  readonly lineOf: (line: number) => number;
  readonly remarks: YamlRemarks;
  readonly merged: { keys: number };
  readonly repairs: { left: number };
}

function* readStream(text: string, reading: Reading): Generator<YamlNode> {
  const { file, firstLine, lineOf, remarks, merged, repairs } = reading;
  const counter = new LineCounter();
  const lineInText = (offset: number): number => firstLine - 1 + Math.max(1, counter.linePos(offset).line);
  const lineAt = (offset: number): number => lineOf(lineInText(offset));
  /** The end of the part that was parsed again after a repair. */
  let repaired = 0;
  function* convert(document: Document.Parsed): Generator<YamlNode> {
    if (document.range[0] < repaired) return;
    const at = endOfUnderindentedQuote(document);
    const next = at === undefined ? -1 : text.indexOf('\n', at);
    if (at !== undefined && next >= 0 && repairs.left-- > 0) {
      const [start, end] = rangeOfDocument(text, at);
      const indented = `${text.slice(start, next + 1)}${' '.repeat(maxDepth)}${text.slice(next + 1, end)}`;
      repaired = end;
      yield* readStream(indented, { ...reading, firstLine: lineInText(start) });
      return;
    }
    for (const error of document.errors) remarks.mistake(lineAt(error.pos[0]), `not YAML: ${error.message}`);
    if (document.errors.length > 0 || document.contents === null) return;
    yield new Converter(lineAt, remarks, merged).convert(document.contents, document.range[0]);
  }
  const parser = new Parser(counter.addNewLine);
  // The failsafe schema keeps all scalars as text. The library's check for duplicate keys takes quadratic time.
  const composer = new Composer({ schema: 'failsafe', uniqueKeys: false, logLevel: 'silent' });
  for (const token of parser.parse(text)) {
    checkDepth(token, lineAt, file);
    for (const document of composer.next(token)) yield* convert(document as Document.Parsed);
  }
  for (const document of composer.end()) yield* convert(document as Document.Parsed);
}
