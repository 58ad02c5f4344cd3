/** Content that accompanies images: BuildKit attestations, artifacts, referrers, cosign's tags. */
import type { Descriptor } from '../../src/oci/descriptor.js';
import { inMemory } from './content.js';
import {
  assemble,
  imageOf,
  indexOf,
  plainBlob,
  pointerTo,
  type Child,
  type Layer,
  type TestImage,
} from './images.js';

/** The media type of an empty config (image-spec, manifest.md, "Guidance for an Empty Descriptor"). */
const emptyType = 'application/vnd.oci.empty.v1+json';

/** Returns the index entry of a BuildKit attestation (provenance) for `image`. */
export function attestationOf(image: TestImage): Child {
  const statement = JSON.stringify({
    _type: 'https://in-toto.io/Statement/v0.1',
    predicateType: 'https://slsa.dev/provenance/v0.2',
    subject: [{ name: 'test', digest: { sha256: image.root.digest.replace(/^\w+:/, '') } }],
    predicate: { builder: { id: 'test' } },
  });
  const attestation = imageOf({
    platform: { architecture: 'unknown', os: 'unknown' },
    layers: [
      plainBlob(statement, 'application/vnd.in-toto+json', {
        'in-toto.io/predicate-type': 'https://slsa.dev/provenance/v0.2',
      }),
    ],
    config: { config: {} },
  });
  return {
    image: attestation,
    annotations: {
      'vnd.docker.reference.digest': image.root.digest,
      'vnd.docker.reference.type': 'attestation-manifest',
    },
  };
}

export interface ArtifactOptions {
  readonly artifactType: string;
  /** Blobs (default: the empty blob as the only layer, as the image-spec requires). */
  readonly blobs?: readonly Layer[];
  readonly subject?: Descriptor;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Returns an artifact with an empty config, and a subject if it refers to an image. */
export function artifactOf(options: ArtifactOptions): TestImage {
  const empty = inMemory(Buffer.from('{}'));
  const config = { mediaType: emptyType, digest: empty.digest, size: 2, data: 'e30=' };
  const blobs = options.blobs ?? [];
  return assemble(
    {
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      artifactType: options.artifactType,
      config,
      layers: blobs.length === 0 ? [config] : blobs.map((blob) => blob.descriptor),
      ...(options.subject === undefined ? {} : { subject: pointerTo(options.subject) }),
      ...(options.annotations === undefined ? {} : { annotations: options.annotations }),
    },
    { blobs: [empty, ...blobs.map((blob) => blob.content)] },
  );
}

/** Returns an SBOM that refers to `subject`. */
export function sbomOf(subject: TestImage): TestImage {
  const text = JSON.stringify({ spdxVersion: 'SPDX-2.3', name: subject.root.digest });
  return artifactOf({
    artifactType: 'application/spdx+json',
    blobs: [plainBlob(text, 'application/spdx+json')],
    subject: subject.root,
    annotations: { 'org.opencontainers.image.created': '2024-01-02T03:04:05Z' },
  });
}

export interface TaggedImage {
  readonly tag: string;
  readonly image: TestImage;
}

/** Returns an image such as cosign stores under the tag `sha256-<hex>.sig`, `.att` or `.sbom`. Its signature is not valid. */
export function cosignOf(subject: TestImage, kind: 'sig' | 'att' | 'sbom'): TaggedImage {
  const payload = JSON.stringify({
    critical: {
      identity: { 'docker-reference': 'registry.example/test' },
      image: { 'docker-manifest-digest': subject.root.digest },
      type: `cosign container image ${kind}`,
    },
  });
  const type = {
    sig: 'application/vnd.dev.cosign.simplesigning.v1+json',
    att: 'application/vnd.dsse.envelope.v1+json',
    sbom: 'text/spdx+json',
  }[kind];
  return {
    tag: `${subject.root.digest.replace(':', '-')}.${kind}`,
    image: imageOf({
      platform: { architecture: '', os: '' },
      layers: [
        plainBlob(
          payload,
          type,
          kind === 'sbom' ? undefined : { 'dev.cosignproject.cosign/signature': 'bm90IHJlYWw=' },
        ),
      ],
    }),
  };
}

/** Returns the index of an image's referrers, for registries without a referrers API (distribution-spec, "Referrers Tag Schema"). */
export function referrersTagOf(
  subject: TestImage,
  referrers: readonly { readonly image: TestImage; readonly artifactType: string }[],
): TaggedImage {
  return {
    tag: subject.root.digest.replace(':', '-').slice(0, 128),
    image: indexOf({
      children: referrers.map(({ image, artifactType }) => ({ image, artifactType, platform: null })),
    }),
  };
}
