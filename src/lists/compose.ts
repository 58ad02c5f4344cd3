import { parsePlatform } from '../oci/platform.js';
import type { Collector } from './collector.js';
import { entriesOf, textOf, valueOf, type YamlNode } from './yaml.js';

const maxNesting = 20;

/** Reports whether a document is a compose file. */
export function isCompose(document: YamlNode): boolean {
  const services = valueOf(document, 'services');
  return (
    services?.kind === 'map' &&
    services.entries.every(([, service]) => service.kind === 'map') &&
    valueOf(document, 'kind') === undefined
  );
}

/** Returns the position of the brace that closes the one before `start`, or -1. */
function closingBrace(text: string, start: number): number {
  let open = 1;
  for (let at = start; at < text.length; at++) {
    if (text.startsWith('${', at)) open++;
    else if (text[at] === '}' && --open === 0) return at;
  }
  return -1;
}

/**
 * Replaces variables by their defaults (Compose specification, "Interpolation"). Ignores the environment, because a list
 * must mean the same on every machine.
 * @param missing called for every variable without a default
 */
export function interpolate(text: string, missing: (name: string) => void, nesting = 0): string {
  let result = '';
  let at = 0;
  for (;;) {
    const dollar = text.indexOf('$', at);
    if (dollar < 0 || nesting > maxNesting) return result + text.slice(at);
    result += text.slice(at, dollar);
    const name = /^\{?([A-Za-z_][A-Za-z0-9_]*)/.exec(text.slice(dollar + 1))?.[1];
    if (text[dollar + 1] === '$') {
      result += '$';
      at = dollar + 2;
    } else if (name === undefined) {
      result += '$';
      at = dollar + 1;
    } else if (text[dollar + 1] !== '{') {
      missing(name);
      at = dollar + 1 + name.length;
    } else {
      const begin = dollar + 2 + name.length;
      const end = closingBrace(text, begin);
      if (end < 0) return result + text.slice(dollar);
      const [, operator, rest = ''] = /^(:?[-+?])([^]*)$/.exec(text.slice(begin, end)) ?? [];
      if (operator === '-' || operator === ':-') result += interpolate(rest, missing, nesting + 1);
      // `+` means: only if the variable is set. No variable is.
      else if (operator !== '+' && operator !== ':+') missing(name);
      at = end + 1;
    }
  }
}

function readService(name: string, service: YamlNode, into: Collector): void {
  const image = valueOf(service, 'image');
  const written = textOf(image);
  if (image === undefined || written === undefined) {
    if (valueOf(service, 'build') !== undefined)
      into.note(service.line, `service ${name} has "build" and no image to pull`);
    else if (valueOf(service, 'extends') !== undefined)
      into.note(service.line, `service ${name} extends another service and names no image of its own`);
    else into.note(service.line, `service ${name} names no image`);
    return;
  }
  if (valueOf(service, 'build') !== undefined) {
    // `image` then is the name of the build result; many projects also publish it under that name.
    into.note(service.line, `service ${name} has "build" too; airlift pulls its image`);
  }
  const missing = new Set<string>();
  const text = interpolate(written, (variable) => missing.add(variable));
  if (missing.size > 0) {
    const names = [...missing].slice(0, 5).join(', ');
    into.problem(
      image.line,
      `the image of service ${name} needs a value for ${names}, which has no default (give airlift the output of "docker compose config")`,
    );
    return;
  }
  const platform = textOf(valueOf(service, 'platform'));
  const platforms =
    platform === undefined ? undefined : into.attempt(image.line, () => [parsePlatform(platform)]);
  into.reference(text, image.line, { platforms });
}

/** Reads the image of every service in every profile (Compose specification, "Services top-level elements"). */
export function readCompose(document: YamlNode, into: Collector): void {
  for (const [name, service] of entriesOf(valueOf(document, 'services')))
    readService(JSON.stringify(name.slice(0, 80)), service, into);
  const include = valueOf(document, 'include');
  if (include !== undefined)
    into.note(include.line, 'airlift does not read included compose files; add them as lists');
}
