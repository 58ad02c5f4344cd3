import { isAirliftError } from '../errors.js';
import { parseReference } from '../oci/reference.js';
import type { Collector } from './collector.js';
import { textOf, valueOf, type YamlMap } from './yaml.js';

/** A variable that the site replaces: `{{…}}` of Argo and Helm, `$(…)` of Tekton, `${…}` of Flux. */
const variable = /\{\{|\$[({]/;

/** Keys whose maps are images by convention: `image`, `initImage`, and each child of `images`. */
const imageKey = /(?:^|\.)(?:[\w-]*image|images(?:\.[^.]+)?)$/i;

/** Reports whether a text contains a variable that the site replaces. */
export function hasVariable(text: string): boolean {
  return variable.test(text);
}

/** Returns the reason why a text is not a reference; undefined if it is one. */
export function refusalOf(text: string): string | undefined {
  try {
    parseReference(text);
    return undefined;
  } catch (error) {
    if (!isAirliftError(error, 'usage', 'input')) throw error;
    return error.message;
  }
}

/** Joins the parts of an image as charts and kustomize do. */
export function joinParts(
  registry: string | undefined,
  repository: string,
  tag?: string,
  digest?: string,
): string {
  const name =
    registry === undefined || repository.startsWith(`${registry}/`)
      ? repository
      : `${registry}/${repository}`;
  return `${name}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`;
}

/** Reports whether a name begins with a registry, by docker's rules. */
export function hasRegistry(name: string): boolean {
  return /^(?:localhost\/|[^/]*[.:][^/]*\/)/.test(name);
}

/**
 * Reads an image that is written in parts, as in the values of Helm charts: `repository` with `tag` or `digest`, and
 * optionally `registry`. Anything that may not be an image becomes a note.
 * @param path the keys that lead to the map
 */
export function readImageObject(node: YamlMap, path: string, into: Collector): void {
  const repository = textOf(valueOf(node, 'repository'));
  if (repository === undefined) return;
  const tag = textOf(valueOf(node, 'tag'));
  const digest = textOf(valueOf(node, 'digest'));
  const isComplete = tag !== undefined || digest !== undefined;
  const isImage = imageKey.test(path);
  if (!isImage && !isComplete) return;
  const registry = textOf(valueOf(node, 'registry'));
  const text = joinParts(registry, repository, tag, digest);
  const where = path.slice(-80);
  const shown = JSON.stringify(text.slice(0, 160));
  const { line } = valueOf(node, 'repository') ?? node;
  const refusal = refusalOf(text);
  if (hasVariable(text))
    into.note(line, `${where}: ${shown} contains a variable; add the images it stands for to a text list`);
  else if (!isComplete)
    into.note(
      line,
      `${where}: ${shown} has no tag here, so it is not used; give airlift the output of "helm template" as well`,
    );
  else if (refusal !== undefined) into.note(line, `${where}: ${shown} is not used: ${refusal}`);
  else if (!isImage)
    into.note(
      line,
      `${where}: ${shown} is not used, because ${where} may not be an image; add it to a text list if the site needs it`,
    );
  else {
    into.reference(text, line);
    if (registry === undefined && !hasRegistry(repository))
      into.note(
        line,
        `${where}: ${shown} names no registry, so docker.io is assumed; if the chart sets another one, check the output of "helm template"`,
      );
  }
}
