import { AirliftError } from '../errors.js';
import { Collector } from './collector.js';
import { isCompose, readCompose } from './compose.js';
import { isHauler, readHauler } from './hauler.js';
import { refusalOf } from './image-object.js';
import { isImgpkg, readImgpkg } from './imgpkg.js';
import { isKubernetes, readKubernetes } from './kubernetes.js';
import type { ImageList, ListFormat } from './listed.js';
import { isKustomization, readKustomization } from './kustomize.js';
import { isLock, readLock } from './lock.js';
import { isImageSet, readImageSet } from './oc-mirror.js';
import { isSkopeoSync, readSkopeoSync } from './skopeo-sync.js';
import { readTextList } from './text.js';
import { isZarf, readZarf } from './zarf.js';
import { itemsOf, textOf, yamlDocuments, type YamlNode } from './yaml.js';

/** Maximum number of characters in one list. */
export const maxListLength = 16 * 1024 * 1024;

/** Longer lines are not references. */
const maxReferenceLength = 1024;

/** The text of a list. */
export interface ListInput {
  /** Name in messages: the file name as given, `standard input` for `-`. */
  readonly file: string;
  readonly text: string;
}

/** Reports whether a document is a YAML list of texts. */
function isSequence(document: YamlNode): boolean {
  return document.kind === 'list' && document.items.every((item) => item.kind === 'scalar');
}

function readSequence(document: YamlNode, into: Collector): void {
  for (const item of itemsOf(document)) {
    const text = textOf(item);
    if (text === undefined) into.problem(item.line, 'an empty entry');
    else into.reference(text, item.line);
  }
}

/** The YAML formats, in order: the first that recognises a document reads it. */
const yamlFormats: readonly {
  readonly format: ListFormat;
  readonly recognises: (document: YamlNode) => boolean;
  readonly read: (document: YamlNode, into: Collector) => void;
}[] = [
  { format: 'lock', recognises: isLock, read: readLock },
  { format: 'hauler', recognises: isHauler, read: readHauler },
  { format: 'imgpkg', recognises: isImgpkg, read: readImgpkg },
  { format: 'oc-mirror', recognises: isImageSet, read: readImageSet },
  { format: 'zarf', recognises: isZarf, read: readZarf },
  { format: 'kustomize', recognises: isKustomization, read: readKustomization },
  { format: 'kubernetes', recognises: isKubernetes, read: readKubernetes },
  { format: 'compose', recognises: isCompose, read: readCompose },
  { format: 'skopeo-sync', recognises: isSkopeoSync, read: readSkopeoSync },
  { format: 'yaml', recognises: isSequence, read: readSequence },
];

/** Returns the first line that is not blank and not a comment, trimmed. */
function firstLine(text: string): string {
  for (let start = 0; start < text.length;) {
    const end = text.indexOf('\n', start);
    const line = text.slice(start, end < 0 ? text.length : end).trim();
    if (line !== '' && !line.startsWith('#')) return line;
    start = end < 0 ? text.length : end + 1;
  }
  return '';
}

/**
 * Reports whether text is YAML rather than a text list, by its first line with content: a reference has no space, and no colon at
 * its end. It may begin with a bracket, for an IPv6 address.
 */
function isYaml(text: string): boolean {
  const line = firstLine(text);
  if (/^\[[0-9A-Fa-f:]+\][:/]/.test(line)) return false;
  return /^(?:---|%YAML\b|[{[]|-(?:\s|$)|(?:"[^"]*"|'[^']*'|[^\s#"']+)\s*:(?:\s|$))/.test(line);
}

/**
 * Reports whether text is a text list below a first line that only looks like YAML, such as a warning of a tool. YAML has no
 * line without indentation that is only a reference, except in a document with nothing else.
 */
function isTextBelowNoise(text: string): boolean {
  if (/^(?:---|%YAML\b)/.test(firstLine(text))) return false;
  for (let start = 0; start < text.length;) {
    const end = text.indexOf('\n', start);
    const line = text
      .slice(start, Math.min(end < 0 ? text.length : end, start + maxReferenceLength))
      .trimEnd();
    start = end < 0 ? text.length : end + 1;
    if (/^[A-Za-z0-9]\S*[/:]\S*[^\s:]$/.test(line) && refusalOf(line) === undefined) return true;
  }
  return false;
}

function readYaml(text: string, into: Collector): void {
  const template = text.includes('{{');
  let known = 0;
  let unknown = 0;
  const onMistake = (line: number, message: string): void => {
    known++;
    into.problem(line, template ? `${message} (render a Helm chart first: helm template)` : message);
  };
  const remark = (line: number, message: string): void => into.note(line, message);
  for (const document of yamlDocuments(text, into.file, { mistake: onMistake, remark })) {
    const format = yamlFormats.find(({ recognises }) => recognises(document));
    if (format !== undefined) {
      known++;
      into.format(format.format);
      format.read(document, into);
    } else if (document.kind !== 'scalar' || document.text !== '') {
      unknown = unknown === 0 ? document.line : unknown;
      into.note(document.line, 'the YAML document is not in a format that airlift reads');
    }
  }
  if (known === 0 && unknown > 0) {
    into.problem(
      unknown,
      'the YAML is not in a format that airlift reads; want Kubernetes resources, a compose file, a kustomization, a list of skopeo sync, Hauler, imgpkg, oc-mirror or Zarf, or an airlift lock',
    );
  }
}

function readInto(input: ListInput, into: Collector): void {
  if (input.text.length > maxListLength) {
    throw new AirliftError(
      'usage',
      `read ${input.file}: too large for an image list; got ${input.text.length} characters, want at most ${maxListLength}`,
    );
  }
  into.begin(input.file);
  const text = input.text.startsWith('\uFEFF') ? input.text.slice(1) : input.text;
  const before = into.entries;
  if (isYaml(text) && !isTextBelowNoise(text)) {
    readYaml(text, into);
  } else {
    into.format('text');
    readTextList(text, into);
  }
  if (into.entries === before) into.note(1, 'names no image');
}

/**
 * Reads several lists as one, in their order. Keeps the first of equal references. Detects the format of each list by its content;
 * docs/image-lists.md describes the formats.
 * @param references references from the command line; they come before the lists
 * @throws AirliftError `usage` with the problems of all lists, each with file and line
 */
export function parseImageLists(inputs: readonly ListInput[], references: readonly string[] = []): ImageList {
  const collector = new Collector();
  collector.beginCommandLine();
  references.forEach((text, at) => collector.reference(text, at + 1));
  for (const input of inputs) readInto(input, collector);
  return collector.result();
}

/**
 * Reads one list.
 * @param file name of the list in messages
 * @throws AirliftError `usage` with all problems, each with its line
 */
export function parseImageList(text: string, file: string): ImageList {
  return parseImageLists([{ file, text }]);
}
