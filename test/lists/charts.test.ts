import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseImageList } from '../../src/lists/read.js';
import { formatReference } from '../../src/oci/reference.js';

interface Read {
  readonly images: readonly string[];
  readonly notes: readonly string[];
}

function read(text: string): Read {
  const list = parseImageList(text, 'l');
  return {
    images: list.references.map(({ reference, line }) => `${line} ${formatReference(reference)}`),
    notes: list.notes.map(({ line, message }) => `${line} ${message}`),
  };
}

const digest = `sha256:${'1'.repeat(64)}`;
const ofChart = (kind: string): string =>
  `${kind} installs a chart: only images in its values are read; give airlift the output of "helm template" for the others`;

test('the image objects in the values of a Flux HelmRelease are read', () => {
  const { images, notes } = read(`apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: app}
spec:
  chart: {spec: {chart: app, version: 1.x}}
  values:
    image:
      repository: ghcr.io/acme/app
      tag: 1.20
    sidecar:
      initImage: {registry: quay.io, repository: acme/init, tag: v1, digest: "${digest}"}
      images:
        proxy: {repository: registry.test:5000/acme/proxy, digest: "${digest}"}
        agent: {registry: registry.test, repository: registry.test/acme/agent, tag: "2@${digest}"}
`);
  assert.deepEqual(images, [
    '8 ghcr.io/acme/app:1.20',
    `11 quay.io/acme/init:v1@${digest}`,
    `13 registry.test:5000/acme/proxy@${digest}`,
    `14 registry.test/acme/agent:2@${digest}`,
  ]);
  assert.deepEqual(notes, [`1 ${ofChart('HelmRelease app')}`]);
});

test('the image object of any custom resource is read, an image that is a text is reported, not used', () => {
  const { images, notes } = read(`apiVersion: acme.test/v1
kind: Database
spec:
  image: {repository: ghcr.io/acme/db, tag: "16"}
  backup:
    image: ghcr.io/acme/backup:1
`);
  assert.deepEqual(images, ['4 ghcr.io/acme/db:16']);
  assert.deepEqual(notes, [
    '6 ghcr.io/acme/backup:1 is not used, because spec.backup.image is not in a pod spec; add it to a text list if the site needs it',
  ]);
});

test('a value that may not be an image becomes a note, never an image', () => {
  const { images, notes } = read(`apiVersion: acme.test/v1
kind: Thing
spec:
  image: {repository: ghcr.io/acme/untagged}
  git: {repository: acme/config, tag: v1}
  initImage: {repository: "https://git.test/acme/app", tag: v1}
  sideImage: {repository: ghcr.io/acme/side, tag: "\${TAG}"}
  runImage: {repository: "ghcr.io/{{ org }}/run", tag: "1"}
  chart: {repository: oci://ghcr.io/acme/charts}
  image2: {tag: v1}
`);
  assert.deepEqual(images, []);
  assert.deepEqual(
    notes.map((note) => note.replace(/: parse reference.*/, '')),
    [
      '4 spec.image: "ghcr.io/acme/untagged" has no tag here, so it is not used; give airlift the output of "helm template" as well',
      '5 spec.git: "acme/config:v1" is not used, because spec.git may not be an image; add it to a text list if the site needs it',
      '6 spec.initImage: "https://git.test/acme/app:v1" is not used',
      '7 spec.sideImage: "ghcr.io/acme/side:${TAG}" contains a variable; add the images it stands for to a text list',
      '8 spec.runImage: "ghcr.io/{{ org }}/run:1" contains a variable; add the images it stands for to a text list',
      '1 names no image',
    ],
  );
});

test('an image object without a registry is read as docker.io, with a note, and so is a global registry', () => {
  const { images, notes } = read(`apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: app}
spec:
  values:
    global: {imageRegistry: registry.site:5000}
    image: {repository: acme/app, tag: v1}
`);
  assert.deepEqual(images, ['7 docker.io/acme/app:v1']);
  assert.deepEqual(notes.slice(1), [
    '6 spec.values.global.imageRegistry "registry.site:5000" is not applied to the images of the values',
    '7 spec.values.image: "acme/app:v1" names no registry, so docker.io is assumed; if the chart sets another one, check the output of "helm template"',
  ]);
});

test('a Flux Kustomization and the post-renderers of a HelmRelease replace images', () => {
  const { images, notes } = read(`apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: apps}
spec:
  path: ./apps
  images:
    - {name: acme/app, newName: ghcr.io/acme/app, newTag: "2.0"}
    - {name: ghcr.io/acme/db, digest: "${digest}"}
    - {name: ghcr.io/acme/cache, newName: registry.test/acme/cache}
    - {name: ghcr.io/acme/web, newTag: "\${WEB_TAG}"}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: app}
spec:
  postRenderers:
    - kustomize:
        images: [{name: ghcr.io/acme/side, newTag: "3"}]
`);
  assert.deepEqual(images, [
    '7 ghcr.io/acme/app:2.0',
    `8 ghcr.io/acme/db@${digest}`,
    '18 ghcr.io/acme/side:3',
  ]);
  assert.deepEqual(notes, [
    '9 registry.test/acme/cache has no tag here; give airlift the output of "kustomize build" as well',
    '10 "${WEB_TAG}" contains a variable; add the images it stands for to a text list',
    `12 ${ofChart('HelmRelease app')}`,
  ]);
});

test('the Helm values of Argo CD Applications are read as objects and as text, with the lines of the file', () => {
  const { images, notes } = read(`apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: app}
spec:
  sources:
    - chart: app
      helm:
        valuesObject: {image: {repository: ghcr.io/acme/app, tag: "1"}}
        parameters: [{name: image.tag, value: "2"}, {name: replicas, value: "2"}]
    - chart: db
      helm:
        values: |
          # the database
          image:
            repository: ghcr.io/acme/db
            tag: 1.20
---
apiVersion: argoproj.io/v1alpha1
kind: ApplicationSet
metadata: {name: set}
spec:
  template:
    spec:
      source:
        chart: web
        helm:
          values: "image: {repository: ghcr.io/acme/web, tag: '3'}"
`);
  assert.deepEqual(images, ['8 ghcr.io/acme/app:1', '15 ghcr.io/acme/db:1.20', '27 ghcr.io/acme/web:3']);
  assert.deepEqual(notes, [
    `1 ${ofChart('Application app')}`,
    '9 the Helm parameter image.tag is not applied to the values',
    `18 ${ofChart('ApplicationSet set')}`,
  ]);
});

test('long keys that aliases repeat are walked in bounded time', { timeout: 60_000 }, () => {
  const { images } = read(`apiVersion: argoproj.io/v1alpha1
kind: Application
x: &x {repository: a/b}
spec:
  ? ${'k'.repeat(2_000_000)}
  :
${Array.from({ length: 50_000 }, (_, at) => `    k${at}: *x`).join('\n')}
  image: {repository: ghcr.io/acme/app, tag: v1}
`);
  assert.deepEqual(
    images.map((image) => image.replace(/^\d+ /, '')),
    ['ghcr.io/acme/app:v1'],
  );
});

test('the values of the HelmCharts of k3s and RKE2 are read', () => {
  for (const kind of ['HelmChart', 'HelmChartConfig']) {
    const { images } = read(`apiVersion: helm.cattle.io/v1
kind: ${kind}
metadata: {name: traefik}
spec:
  valuesContent: |-
    image:
      registry: docker.io
      repository: rancher/mirrored-library-traefik
      tag: 2.11.8
`);
    assert.deepEqual(images, ['8 docker.io/rancher/mirrored-library-traefik:2.11.8']);
  }
});

test('values that are not valid YAML become a note, and values that aliases repeat are read once', () => {
  const { images, notes } = read(`apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: app}
spec:
  sources:
    - helm:
        values: &values |
          image: {repository: ghcr.io/acme/db, tag: v1}
          {{- if .debug }}
    - helm: {values: *values}
---
apiVersion: v1
kind: Pod
spec: {containers: [{name: a, image: "a/a:1"}]}
`);
  assert.deepEqual(images, ['14 docker.io/a/a:1']);
  assert.equal(
    notes.filter((note) => note.includes('spec.sources.helm.values is not read: not YAML')).length,
    1,
  );
});
