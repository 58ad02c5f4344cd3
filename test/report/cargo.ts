/** Bundles whose images have labels, signatures and lists of packages, for reports. */
import { artifactOf } from '../support/artifacts.js';
import {
  bigLayer,
  imageOf,
  indexOf,
  layer,
  plainBlob,
  type Child,
  type Layer,
  type TestImage,
} from '../support/images.js';
import type { Cargo } from '../bundle/write-bundle.js';

const spdxPredicate = 'https://spdx.dev/Document';

/** Returns an SPDX document that lists these packages, as `name@version`. */
export function spdx(packages: readonly string[]): object {
  return {
    spdxVersion: 'SPDX-2.3',
    packages: packages.map((text) => {
      const [name = '', version = ''] = text.split('@');
      return {
        name,
        versionInfo: version,
        licenseConcluded: 'NOASSERTION',
        licenseDeclared: 'MIT',
        externalRefs: [{ referenceType: 'purl', referenceLocator: `pkg:deb/debian/${name}@${version}` }],
      };
    }),
  };
}

/** Returns the entry of a BuildKit attestation that holds an SBOM of an image. */
export function sbomAttestation(image: TestImage, packages: readonly string[]): Child {
  const statement = {
    _type: 'https://in-toto.io/Statement/v0.1',
    predicateType: spdxPredicate,
    predicate: spdx(packages),
  };
  return {
    image: imageOf({
      platform: { architecture: 'unknown', os: 'unknown' },
      layers: [
        plainBlob(JSON.stringify(statement), 'application/vnd.in-toto+json', {
          'in-toto.io/predicate-type': spdxPredicate,
        }),
      ],
      config: { config: {} },
    }),
    annotations: {
      'vnd.docker.reference.digest': image.root.digest,
      'vnd.docker.reference.type': 'attestation-manifest',
    },
  };
}

export interface ProductOptions {
  readonly name: string;
  readonly version?: string;
  readonly platforms?: readonly string[];
  readonly packages?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
  /** Layers below its own. */
  readonly base?: readonly Layer[];
  readonly bytes?: number;
}

/** Returns a multi-platform image with labels, and an SBOM for each platform if it lists packages. */
export function product(options: ProductOptions): TestImage {
  const {
    name,
    version = '1.0.0',
    platforms = ['linux/amd64', 'linux/arm64'],
    packages,
    base = [],
    bytes = 2000,
  } = options;
  const images = platforms.map((platform) =>
    imageOf({
      platform,
      layers: [
        ...base,
        layer([{ name: `${name}-${platform}`, content: name }]),
        bigLayer(bytes, `${name} ${platform}`),
      ],
      config: {
        created: '2026-03-04T05:06:07Z',
        config: {
          Labels: {
            'org.opencontainers.image.version': version,
            'org.opencontainers.image.licenses': 'Apache-2.0',
            'org.opencontainers.image.source': `https://git.example/${name}`,
            ...options.labels,
          },
        },
      },
    }),
  );
  const attestations = packages === undefined ? [] : images.map((image) => sbomAttestation(image, packages));
  return indexOf({ children: [...images, ...attestations] });
}

/** Returns the signature of an image under cosign's tag, with this certificate in PEM. */
export function signatureOf(image: TestImage, certificate: string): TestImage {
  const payload = JSON.stringify({ critical: { image: { 'docker-manifest-digest': image.root.digest } } });
  return imageOf({
    platform: { architecture: '', os: '' },
    layers: [
      plainBlob(payload, 'application/vnd.dev.cosign.simplesigning.v1+json', {
        'dev.cosignproject.cosign/signature': 'bm90IHJlYWw=',
        'dev.sigstore.cosign/certificate': certificate,
      }),
    ],
  });
}

/** Returns a CycloneDX document that is attached to an image by its `subject`. */
export function cycloneDxOf(image: TestImage, components: readonly object[]): TestImage {
  const type = 'application/vnd.cyclonedx+json';
  const document = JSON.stringify({ bomFormat: 'CycloneDX', specVersion: '1.6', components });
  return artifactOf({ artifactType: type, blobs: [plainBlob(document, type)], subject: image.root });
}

/** Returns this many small images of two platforms that share a base, two thirds of them with SBOMs. */
export function manyProducts(count: number): Cargo[] {
  const base = [bigLayer(60_000, 'base')];
  return Array.from({ length: count }, (_, at) => ({
    reference: `registry.example/team-${at % 17}/product-${at}:1.${at}`,
    image: product({
      name: `product-${at}`,
      version: `1.${at}`,
      base: at % 3 === 0 ? [] : base,
      bytes: 500 + ((at * 7919) % 40_000),
      ...(at % 3 === 2
        ? {}
        : {
            packages: Array.from(
              { length: 12 },
              (_unused, one) => `lib-${(at * 5 + one * 13) % 400}@${one}.${at % 4}`,
            ),
          }),
    }),
  }));
}
