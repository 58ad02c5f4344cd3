import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseImageList } from '../../src/lists/read.js';
import { formatReference } from '../../src/oci/reference.js';

function taken(text: string): string[] {
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

test('every image of every pod spec of a rendered chart is taken, with its line', () => {
  assert.deepEqual(taken(rendered), [
    '22 docker.io/library/busybox:1.36',
    '25 ghcr.io/acme/app:2.1',
    `30 quay.io/acme/side@sha256:${'a'.repeat(64)}`,
    '34 ghcr.io/acme/data:1',
    '44 docker.io/library/redis:latest',
  ]);
  assert.deepEqual(parseImageList(rendered, 'k.yaml').lists, [{ file: 'k.yaml', formats: ['kubernetes'] }]);
  assert.deepEqual(taken(rendered.replaceAll('\n', '\r\n')), taken(rendered));
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
  assert.deepEqual(taken(JSON.stringify(list)), ['1 docker.io/a/a:1', '1 docker.io/library/busybox:debug']);
});

test('a custom resource gives what stands in a list of containers, and tells of other images', () => {
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
  assert.deepEqual(taken(text), ['6 docker.io/a/rollout:1', '21 ghcr.io/acme/hello:3']);
  assert.deepEqual(notes(text), [
    '11 quay.io/prometheus/prometheus:v2.50.0 is not used, because spec.image is not in a pod spec; add it to a text list if the site needs it',
  ]);
});

test('a definition of a custom resource names no images', () => {
  const text = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
spec:
  versions:
    - schema: {openAPIV3Schema: {example: {containers: [{name: x, image: no/no:1}]}}}
`;
  assert.deepEqual(taken(text), []);
});

test('containers without an image are told, and so is what an injector fills in', () => {
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
  assert.deepEqual(taken(text), ['11 docker.io/a/b:1']);
  assert.deepEqual(notes(text), [
    '5 container one names no image',
    '7 container proxy: its image "auto" is replaced by Istio at the site',
    '9 container two names no image',
  ]);
});

test('an anchored pod spec counts wherever an alias puts it', () => {
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
  assert.deepEqual(taken(text), [
    '5 docker.io/a/a:1',
    '6 docker.io/a/b:1',
    '11 docker.io/library/1.20:latest',
  ]);
});

test('bad images and bad YAML are told with their lines, all at once', () => {
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
    () => taken(text),
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

test('a chart that was not rendered gets the advice to render it', () => {
  const text =
    'apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  {{- range .Values.x }}\n    - image: {{ . }}\n  {{- end }}\n';
  assert.throws(() => taken(text), /helm template/);
});
