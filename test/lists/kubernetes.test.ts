import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseImageList } from '../../src/lists/read.js';
import { formatReference } from '../../src/oci/reference.js';

function imagesOf(text: string): string[] {
  return parseImageList(text, 'k.yaml').references.map(
    ({ reference, line }) => `${line} ${formatReference(reference)}`,
  );
}

function notes(text: string): string[] {
  return parseImageList(text, 'k.yaml').notes.map(({ line, message }) => `${line} ${message}`);
}

const rendered = `---
# Source: app/templates/serviceaccount.yaml
apiVersion: v1
kind: ServiceAccount
metadata:
  name: app
---
# Source: app/templates/empty.yaml
---
# Source: app/templates/deployment.yaml
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app
  annotations:
    image: ghcr.io/not/this:1
spec:
  template:
    spec:
      initContainers:
        - name: init
          image: "busybox:1.36"
      containers:
        - name: app
          image: ghcr.io/acme/app:2.1
          env:
            - name: IMAGE
              value: ghcr.io/not/that:1
        - name: side
          image: 'quay.io/acme/side@sha256:${'a'.repeat(64)}'
      volumes:
        - name: data
          image:
            reference: ghcr.io/acme/data:1
---
apiVersion: batch/v1
kind: CronJob
spec:
  jobTemplate:
    spec:
      template:
        spec:
          containers:
            - {name: job, image: redis}
`;

test('every image in the pod specs of a rendered chart is read, with its line', () => {
  assert.deepEqual(imagesOf(rendered), [
    '22 docker.io/library/busybox:1.36',
    '25 ghcr.io/acme/app:2.1',
    `30 quay.io/acme/side@sha256:${'a'.repeat(64)}`,
    '34 ghcr.io/acme/data:1',
    '44 docker.io/library/redis:latest',
  ]);
  assert.deepEqual(parseImageList(rendered, 'k.yaml').lists, [{ file: 'k.yaml', formats: ['kubernetes'] }]);
  assert.deepEqual(imagesOf(rendered.replaceAll('\n', '\r\n')), imagesOf(rendered));
});

test('resources inside a List, ephemeral containers and JSON are read', () => {
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    spec: {
      ephemeralContainers: [{ name: 'debug', image: 'busybox:debug' }],
      containers: [{ name: 'a', image: 'a/a:1' }],
    },
    status: { containerStatuses: [{ image: 'ghcr.io/resolved/a:1' }], containers: [{ image: 'no/no:1' }] },
  };
  const list = { apiVersion: 'v1', kind: 'List', items: [pod, { ...pod, kind: 'ReplicaSet' }] };
  assert.deepEqual(imagesOf(JSON.stringify(list)), [
    '1 docker.io/a/a:1',
    '1 docker.io/library/busybox:debug',
  ]);
});

test('the lists of containers in a custom resource are read, and other images are reported', () => {
  const text = `apiVersion: argoproj.io/v1alpha1
kind: Rollout
spec:
  template:
    spec:
      containers: [{name: a, image: a/rollout:1}]
---
apiVersion: monitoring.coreos.com/v1
kind: Prometheus
spec:
  image: quay.io/prometheus/prometheus:v2.50.0
  containers:
    - name: config-reloader
---
apiVersion: serving.knative.dev/v1
kind: Service
spec:
  template:
    spec:
      containers:
        - image: ghcr.io/acme/hello:3
`;
  assert.deepEqual(imagesOf(text), ['6 docker.io/a/rollout:1', '21 ghcr.io/acme/hello:3']);
  assert.deepEqual(notes(text), [
    '11 quay.io/prometheus/prometheus:v2.50.0 is not used, because spec.image is not in a pod spec; add it to a text list if the site needs it',
  ]);
});

test('images in the definition of a custom resource are ignored', () => {
  const text = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
spec:
  versions:
    - schema: {openAPIV3Schema: {example: {containers: [{name: x, image: no/no:1}]}}}
`;
  assert.deepEqual(imagesOf(text), []);
});

test('containers without an image, and with an image that an injector replaces, are reported', () => {
  const text = `apiVersion: v1
kind: Pod
spec:
  containers:
    - name: one
      image: ""
    - name: proxy
      image: auto
    - name: two
    - name: real
      image: a/b:1
`;
  assert.deepEqual(imagesOf(text), ['11 docker.io/a/b:1']);
  assert.deepEqual(notes(text), [
    '5 container one names no image',
    '7 container proxy: its image "auto" is replaced by Istio at the site',
    '9 container two names no image',
  ]);
});

test('a pod spec with an anchor is read wherever an alias uses it', () => {
  const text = `apiVersion: v1
kind: Pod
spec: &spec
  containers:
    - &c {name: a, image: a/a:1}
    - {<<: *c, image: a/b:1}
    - {<<: *c, name: b}
---
apiVersion: v1
kind: Pod
spec: {containers: [{name: x, image: 1.20}]}
`;
  assert.deepEqual(imagesOf(text), [
    '5 docker.io/a/a:1',
    '6 docker.io/a/b:1',
    '11 docker.io/library/1.20:latest',
  ]);
});

test('invalid images and invalid YAML are reported together, with their lines', () => {
  const text = `apiVersion: v1
kind: Pod
spec:
  containers:
    - name: a
      image: Not/Lower:1
    - name: b
      image: [a]
    - name: c
      image: "a b"
---
a: b: c
---
x: *nowhere
`;
  assert.throws(
    () => imagesOf(text),
    (error: Error) => {
      assert.match(error.message, /^read images: [5-9] problems\n/);
      for (const start of [
        'k.yaml:6: parse reference',
        'k.yaml:8: the image of',
        'k.yaml:10: ',
        'k.yaml:12: not YAML',
        'k.yaml:14: the alias',
      ])
        assert.ok(error.message.includes(`\n  ${start}`), `${start}\n${error.message}`);
      return true;
    },
  );
});

test('the error about a chart that is not rendered says how to render it', () => {
  const text =
    'apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  {{- range .Values.x }}\n    - image: {{ . }}\n  {{- end }}\n';
  assert.throws(() => imagesOf(text), /helm template/);
});
