import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isAirliftError } from '../../src/errors.js';
import { parseImageList } from '../../src/lists/read.js';
import { formatReference } from '../../src/oci/reference.js';

interface Read {
  readonly images: readonly string[];
  readonly notes: readonly string[];
  readonly formats: readonly string[];
}

function read(text: string): Read {
  const list = parseImageList(text, 'l');
  return {
    images: list.references.map(({ reference }) => formatReference(reference).replace(/^docker\.io\//, '')),
    notes: list.notes.map(({ line, message }) => `${line} ${message}`),
    formats: list.lists[0]?.formats ?? [],
  };
}

function problems(text: string): readonly string[] {
  try {
    return read(text).images;
  } catch (error) {
    if (!isAirliftError(error, 'usage')) throw error;
    return (error.message.split('\n').slice(1) ?? []).map((line) => line.trim());
  }
}

test('oc-mirror: additional images are read, and what only oc-mirror can resolve is reported', () => {
  const { images, notes, formats } = read(`kind: ImageSetConfiguration
apiVersion: mirror.openshift.io/v2alpha1
mirror:
  platform:
    channels: [{name: stable-4.16}]
  operators:
  - catalog: registry.redhat.io/redhat/redhat-operator-index:v4.16
  additionalImages:
  - name: quay.io/acme/ubi:9
  - name: docker://registry.test/acme/tools@sha256:${'1'.repeat(64)}
  - name: quay.io/acme/bad:1
  blockedImages:
  - name: quay.io/acme/bad:1
`);
  assert.deepEqual(images, ['quay.io/acme/ubi:9', `registry.test/acme/tools@sha256:${'1'.repeat(64)}`]);
  assert.deepEqual(formats, ['oc-mirror']);
  assert.match(notes.join('\n'), /11 quay\.io\/acme\/bad:1 is not used: it is in blockedImages/);
  for (const part of ['operators', 'platform'])
    assert.match(notes.join('\n'), new RegExp(`mirror\\.${part} is not read`));
});

test('Zarf: the images of every component are read', () => {
  const { images, notes, formats } = read(`kind: ZarfPackageConfig
metadata: {name: app}
components:
  - name: one
    images: [ghcr.io/acme/app:1, "registry/###ZARF_PKG_TMPL_X###:1"]
  - name: two
    import: {path: ../other}
    images:
      - nginx:1.25
`);
  assert.deepEqual(images, ['ghcr.io/acme/app:1', 'library/nginx:1.25']);
  assert.deepEqual(formats, ['zarf']);
  assert.match(notes.join('\n'), /5 component one: .*contains a variable/);
  assert.match(notes.join('\n'), /component two is imported/);
});

test('kustomization: the images that it sets are read, with and without apiVersion', () => {
  for (const head of ['apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n', '']) {
    const { images, notes, formats } = read(`${head}resources: [deployment.yaml]
images:
  - name: nginx
    newName: registry.test/mirror/nginx
    newTag: "1.20"
  - {name: redis, digest: "sha256:${'2'.repeat(64)}"}
  - {name: app, newName: registry.test/app}
`);
    assert.deepEqual(images, ['registry.test/mirror/nginx:1.20', `library/redis@sha256:${'2'.repeat(64)}`]);
    assert.deepEqual(formats, ['kustomize']);
    assert.match(notes.join('\n'), /registry\.test\/app has no tag here/);
    assert.match(notes.join('\n'), /does not read the files under resources/);
  }
});

test('Argo: containers and scripts of workflows, and images of Applications, are read', () => {
  const workflow = read(`apiVersion: argoproj.io/v1alpha1
kind: CronWorkflow
metadata: {name: w}
spec:
  workflowSpec:
    templates:
      - name: a
        container: {image: "acme/run:1"}
        sidecars: [{name: s, image: "acme/side:1"}]
        initContainers: [{name: i, image: "acme/init:1"}]
      - name: b
        script: {image: "acme/script:1", source: "echo"}
      - name: c
        container: {image: "acme/{{inputs.parameters.x}}:1"}
      - name: d
        containerSet: {containers: [{name: x, image: "acme/set:1"}]}
`);
  assert.deepEqual([...workflow.images].sort(), [
    'acme/init:1',
    'acme/run:1',
    'acme/script:1',
    'acme/set:1',
    'acme/side:1',
  ]);
  assert.match(workflow.notes.join('\n'), /14 container without a name: its image .* contains a variable/);
  const application = read(`apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: a}
spec:
  source:
    repoURL: https://git.test/x
    kustomize:
      images: ["acme/app=registry.test/app:2", "acme/other:3", "acme/none"]
`);
  assert.deepEqual(application.images, ['registry.test/app:2', 'acme/other:3']);
  assert.match(application.notes.join('\n'), /acme\/none has no tag/);
});

test('Tekton: steps, sidecars and step templates are read wherever a task is', () => {
  const { images, notes } = read(`apiVersion: tekton.dev/v1
kind: PipelineRun
metadata: {name: p}
spec:
  pipelineSpec:
    tasks:
      - name: t
        taskSpec:
          stepTemplate: {image: "acme/template:1"}
          steps:
            - {name: a, image: "acme/step:1"}
            - {name: b, image: "$(params.image)"}
            - {name: c, script: x}
          sidecars: [{name: s, image: "acme/sidecar:1"}]
---
apiVersion: tekton.dev/v1beta1
kind: StepAction
metadata: {name: s}
spec: {image: "acme/action:1", script: x}
`);
  assert.deepEqual([...images].sort(), ['acme/action:1', 'acme/sidecar:1', 'acme/step:1', 'acme/template:1']);
  assert.match(notes.join('\n'), /12 container b: its image "\$\(params\.image\)" contains a variable/);
});

test('a list that names no image is reported', () => {
  assert.deepEqual(read('apiVersion: example.test/v1\nkind: ImageThing\nimages: []\n').notes, [
    '1 names no image',
  ]);
  assert.deepEqual(read('# only a comment\n').notes, ['1 names no image']);
});

test('the last value of a repeated key in a map counts, as in kubectl, with a note', () => {
  const { images, notes } = read(
    'apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: b\n    image: old/app:1\n    image: new/app:2\n',
  );
  assert.deepEqual(images, ['new/app:2']);
  assert.deepEqual(notes, ['7 the key "image" is repeated; its last value counts']);
  const merged = read(
    'x: &x {image: "a/merged:1"}\nservices:\n  s:\n    <<: *x\n    image: a/first:1\n    image: a/own:1\n',
  );
  assert.deepEqual(merged.images, ['a/own:1']);
});

test('quoted text with too little indentation is read as go-yaml reads it', () => {
  for (const quote of ["'", '"']) {
    const { images, notes } = read(`apiVersion: v1
kind: Pod
metadata:
  annotations:
    text: ${quote}one
    two: three
three
      four${quote}
    other: ${quote}a
  b${quote}
spec: {containers: [{name: b, image: "acme/driver:1.3.0"}]}
---
apiVersion: v1
kind: Pod
spec: {containers: [{name: b, image: "acme/next:1"}]}
`);
    assert.deepEqual(images, ['acme/driver:1.3.0', 'acme/next:1']);
    assert.deepEqual(notes, []);
  }
});

test('an unclosed quote is a mistake of its own line', () => {
  assert.match(problems("a: 'b\nc: d\n").join('\n'), /^l:\d+: not YAML: Missing closing 'quote/);
  const many = `${"a: 'b\n c\nd\n---\n".repeat(2000)}`;
  assert.ok(problems(many).length > 0);
});

test('noise above a text list is an error about that line', () => {
  for (const noise of [
    'WARNING: the schema is old',
    '[WARN] old',
    'level=warning msg: "x y"',
    'Error: no: such',
  ])
    assert.deepEqual(
      problems(`${noise}\ndocker.io/a/b:1\nredis:7\n`),
      [`l:1: ${JSON.stringify(noise)} is more than one reference`],
      noise,
    );
});

test('an image ID is not a name', () => {
  for (const id of [`sha256:${'a'.repeat(64)}`, 'b'.repeat(64)]) {
    const { images, notes } = read(`${id}\na/b:1\n`);
    assert.deepEqual(images, ['a/b:1']);
    assert.match(notes[0] ?? '', /^1 skipped .*: it is an image ID/);
  }
});

test('the hosts of Docker Hub are docker.io', () => {
  for (const host of ['registry-1.docker.io', 'index.docker.io', 'docker.io'])
    assert.deepEqual(read(`${host}/redis:7\n${host}/a/b:1\n`).images, ['library/redis:7', 'a/b:1']);
});
