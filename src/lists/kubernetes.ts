import { AirliftError } from '../errors.js';
import type { Collector } from './collector.js';
import { hasVariable, readImageObject } from './image-object.js';
import { readNewImage } from './kustomize.js';
import {
  entriesOf,
  itemsOf,
  textOf,
  valueOf,
  yamlDocuments,
  type YamlMap,
  type YamlNode,
  type YamlScalar,
} from './yaml.js';

/** The lists of containers in a pod spec (Kubernetes API, core/v1 PodSpec). */
const containerKeys = ['initContainers', 'containers', 'ephemeralContainers'] as const;

interface ApiGroup {
  readonly group: string;
  /** Keys of lists of containers. */
  readonly lists?: readonly string[];
  /** Keys of single containers. */
  readonly single?: readonly string[];
  /** Where a resource holds the values of a Helm chart as YAML text: the end of the path. */
  readonly valuesText?: RegExp;
}

/** API groups whose resources hold images outside pod specs. */
const groups: readonly ApiGroup[] = [
  // Argo Workflows: templates of Workflow, CronWorkflow, WorkflowTemplate. Argo Events: sources and sinks. Argo CD: Applications.
  {
    group: 'argoproj.io/',
    lists: ['sidecars'],
    single: ['container', 'script'],
    valuesText: /\bhelm\.values$/,
  },
  // Tekton: Task, TaskRun, Pipeline, PipelineRun, StepAction.
  { group: 'tekton.dev/', lists: ['steps', 'sidecars'], single: ['stepTemplate'] },
  // k3s and RKE2: HelmChart, HelmChartConfig.
  { group: 'helm.cattle.io/', valuesText: /^spec\.valuesContent$/ },
];

/** Aliases let a small file describe an endless tree: limits for the number of visited nodes and the depth. */
const maxVisited = 5_000_000;
const maxWalkDepth = 400;
const maxKeyLength = 200;

/** Reports whether a document is a Kubernetes resource, or a list of resources. */
export function isKubernetes(document: YamlNode): boolean {
  return (
    textOf(valueOf(document, 'apiVersion')) !== undefined && textOf(valueOf(document, 'kind')) !== undefined
  );
}

/** Reads the image of a container, or notes why the container has none. */
function readContainer(container: YamlNode, into: Collector): void {
  if (container.kind !== 'map') return;
  const name = textOf(valueOf(container, 'name'))?.slice(0, 80) ?? 'without a name';
  const image = valueOf(container, 'image');
  const text = textOf(image);
  if (text === 'auto') {
    // Istio's injector replaces this word by its proxy (gateways, custom sidecars).
    into.note(container.line, `container ${name}: its image "auto" is replaced by Istio at the site`);
  } else if (text !== undefined && /\{\{|\$\(/.test(text)) {
    into.note(
      image?.line ?? container.line,
      `container ${name}: its image ${JSON.stringify(text.slice(0, 160))} contains a variable; add the images it stands for to a text list`,
    );
  } else if (text !== undefined) {
    into.reference(text, image?.line ?? container.line);
  } else if (image !== undefined && image.kind !== 'scalar') {
    into.problem(image.line, `the image of container ${name} is not text`);
  } else {
    into.note(container.line, `container ${name} names no image`);
  }
}

/** Reports whether a node is a list of maps of which at least one has an `image`. */
function isContainerList(node: YamlNode | undefined): boolean {
  const items = itemsOf(node);
  return (
    items.length > 0 &&
    items.every((item) => item.kind === 'map') &&
    items.some((item) => valueOf(item, 'image') !== undefined)
  );
}

function hasImage(node: YamlNode): boolean {
  return node.kind === 'map' && textOf(valueOf(node, 'image')) !== undefined;
}

/** Reads the images that an Argo CD Application passes to kustomize: `[OLD=]NEW[:TAG][@DIGEST]`. */
function readArgoImages(source: YamlNode | undefined, into: Collector): void {
  for (const image of itemsOf(valueOf(valueOf(source, 'kustomize'), 'images'))) {
    const text = textOf(image);
    const name = text?.slice(text.indexOf('=') + 1);
    if (name === undefined) continue;
    if (/[:@][^/]+$/.test(name)) into.reference(name, image.line);
    else into.note(image.line, `${name} has no tag here; the resources that use it name the tag`);
  }
}

/** Reads `images` of a Flux resource, whose variables Flux replaces at the site. */
function readFluxImages(images: YamlNode | undefined, into: Collector): void {
  for (const image of itemsOf(images)) {
    const text = entriesOf(image).map(([, value]) => textOf(value) ?? '');
    const variable = text.find(hasVariable);
    if (variable === undefined) readNewImage(image, into);
    else
      into.note(
        image.line,
        `${JSON.stringify(variable.slice(0, 160))} contains a variable; add the images it stands for to a text list`,
      );
  }
}

/** The sources of an Argo CD Application, or of the template of an ApplicationSet. */
function argoSources(resource: YamlMap): readonly (YamlNode | undefined)[] {
  const spec = valueOf(resource, 'spec');
  return [spec, valueOf(valueOf(spec, 'template'), 'spec')].flatMap((application) => [
    valueOf(application, 'source'),
    ...itemsOf(valueOf(application, 'sources')),
  ]);
}

/** Notes that a resource installs a chart, whose own images are not in the file. */
function noteChart(resource: YamlMap, into: Collector): void {
  const name = textOf(valueOf(valueOf(resource, 'metadata'), 'name'))?.slice(0, 80) ?? 'without a name';
  const kind = textOf(valueOf(resource, 'kind'))?.slice(0, 80) ?? '';
  into.note(
    resource.line,
    `${kind} ${name} installs a chart: only images in its values are read; give airlift the output of "helm template" for the others`,
  );
}

/** Reads what a resource of Argo CD, Flux, k3s or RKE2 sets in kustomizations and charts, other than Helm values. */
function readDeployment(resource: YamlMap, into: Collector): void {
  const version = textOf(valueOf(resource, 'apiVersion')) ?? '';
  const kind = textOf(valueOf(resource, 'kind'));
  const spec = valueOf(resource, 'spec');
  if (version.startsWith('argoproj.io/')) {
    const sources = argoSources(resource);
    for (const source of sources) readArgoImages(source, into);
    if (sources.some((source) => valueOf(source, 'chart') ?? valueOf(source, 'helm')))
      noteChart(resource, into);
    for (const source of sources)
      for (const parameter of itemsOf(valueOf(valueOf(source, 'helm'), 'parameters'))) {
        const name = textOf(valueOf(parameter, 'name'))?.slice(0, 80);
        if (name !== undefined && /image|repository|registry|tag|digest/i.test(name))
          into.note(parameter.line, `the Helm parameter ${name} is not applied to the values`);
      }
  } else if (version.startsWith('kustomize.toolkit.fluxcd.io/')) {
    readFluxImages(valueOf(spec, 'images'), into);
  } else if (version.startsWith('helm.toolkit.fluxcd.io/') && kind === 'HelmRelease') {
    noteChart(resource, into);
    for (const renderer of itemsOf(valueOf(spec, 'postRenderers')))
      readFluxImages(valueOf(valueOf(renderer, 'kustomize'), 'images'), into);
  } else if (version.startsWith('helm.cattle.io/')) {
    noteChart(resource, into);
  }
}

/** Appends a key to a path. Keeps the end only: aliases may lead through very long keys millions of times. */
function pathBelow(path: string, key: string): string {
  const end = key.slice(-maxKeyLength);
  return path === '' ? end : `${path}.${end}`.slice(-2 * maxKeyLength);
}

class Walk {
  #visited = 0;
  /** Values that were read already: an alias may repeat one text many times. */
  readonly #readTexts = new Set<YamlScalar>();

  constructor(readonly into: Collector) {}

  #visit(node: YamlNode, depth: number): void {
    if (++this.#visited > maxVisited || depth > maxWalkDepth) {
      throw new AirliftError('usage', `read ${this.into.file}:${node.line}: YAML aliases expand too far`);
    }
  }

  /** Reads the containers and image volumes of a pod spec; `walk` reads the rest. */
  #podSpec(spec: YamlMap): void {
    for (const key of containerKeys) {
      const list = valueOf(spec, key);
      if (!isContainerList(list)) continue;
      for (const container of itemsOf(list)) readContainer(container, this.into);
    }
    for (const volume of itemsOf(valueOf(spec, 'volumes'))) {
      const reference = valueOf(valueOf(volume, 'image'), 'reference');
      const text = textOf(reference);
      if (text !== undefined) this.into.reference(text, reference?.line ?? volume.line);
    }
  }

  /** @param group the API group of the resource that contains the node, if it holds images outside pod specs */
  walk(node: YamlNode, path: string, depth: number, group?: ApiGroup): void {
    this.#visit(node, depth);
    if (node.kind === 'scalar') {
      if (group?.valuesText?.test(path) === true) this.#valuesText(node, path, depth);
      return;
    }
    if (node.kind === 'list') {
      for (const item of node.items) this.walk(item, path, depth + 1, group);
      return;
    }
    const isResource = isKubernetes(node);
    if (isResource && textOf(valueOf(node, 'kind')) === 'CustomResourceDefinition') return;
    const version = isResource ? (textOf(valueOf(node, 'apiVersion')) ?? '') : undefined;
    const own = version === undefined ? group : groups.find((each) => version.startsWith(each.group));
    if (isResource) readDeployment(node, this.into);
    const isPodSpec = containerKeys.some((key) => isContainerList(valueOf(node, key)));
    if (isPodSpec) this.#podSpec(node);
    readImageObject(node, path, this.into);
    const isStepAction = textOf(valueOf(node, 'kind')) === 'StepAction' && own?.group === 'tekton.dev/';
    for (const [key, value] of entriesOf(node)) {
      if (isResource && (key === 'metadata' || key === 'status')) continue;
      if (isPodSpec && (containerKeys as readonly string[]).includes(key)) continue;
      const here = pathBelow(path, key);
      if (key === 'image' && value.kind === 'scalar') this.#imageElsewhere(value, here);
      else if (key === 'global') this.#globalRegistry(value, here, depth, own);
      else if (own?.single?.includes(key) === true && hasImage(value)) readContainer(value, this.into);
      else if (own?.lists?.includes(key) === true && isContainerList(value))
        for (const step of itemsOf(value))
          if (hasImage(step)) readContainer(step, this.into);
          else this.walk(step, here, depth + 1);
      else if (isStepAction && key === 'spec' && hasImage(value)) readContainer(value, this.into);
      else this.walk(value, here, depth + 1, own);
    }
  }

  /** Reads Helm values that a resource holds as YAML text. Templates often are not valid YAML, which is no mistake of the list. */
  #valuesText(node: YamlScalar, path: string, depth: number): void {
    if (this.#readTexts.has(node)) return;
    this.#readTexts.add(node);
    let mistakes = 0;
    const mistake = (line: number, message: string): void => {
      if (mistakes++ === 0) this.into.note(line, `${path.slice(-80)} is not read: ${message}`);
    };
    const remark = (line: number, message: string): void => this.into.note(line, message);
    // Only a block has one line of the file for each line of text.
    const lineOf = (line: number): number => (node.isBlock ? node.line + line : node.line);
    for (const document of yamlDocuments(node.text, this.into.file, { mistake, remark }, lineOf))
      this.walk(document, path, depth + 1);
  }

  /** Walks `global`, with a note if it sets a registry: many charts use that one in place of each image's own. */
  #globalRegistry(value: YamlNode, path: string, depth: number, group?: ApiGroup): void {
    const registry = valueOf(value, 'imageRegistry');
    const text = textOf(registry);
    if (registry !== undefined && text !== undefined)
      this.into.note(
        registry.line,
        `${path.slice(-80)}.imageRegistry ${JSON.stringify(text.slice(0, 160))} is not applied to the images of the values`,
      );
    this.walk(value, path, depth + 1, group);
  }

  /** Notes an `image` outside pod specs: only the operator of the resource knows whether it is an image to pull. */
  #imageElsewhere(value: YamlScalar, path: string): void {
    const text = textOf(value);
    if (text === undefined || text.length > 300 || !/^[\w.-]+(?:[/:@][\w.-]+)+$/.test(text)) return;
    this.into.note(
      value.line,
      `${text} is not used, because ${path.slice(-80)} is not in a pod spec; add it to a text list if the site needs it`,
    );
  }
}

/**
 * Reads every image of a resource of any kind, built-in or custom: in pod specs, wherever a list of containers is
 * (Kubernetes API, core/v1 PodSpec, Container, ImageVolumeSource), in image objects as in Helm values, and in the lists of
 * images of Flux and Argo CD.
 * @throws AirliftError `usage` if aliases expand too far
 */
export function readKubernetes(document: YamlNode, into: Collector): void {
  new Walk(into).walk(document, '', 0);
}
