import type { ReportedPlatform } from './report.js';

/** The labels that a reader looks for first (image-spec, annotations.md, "Pre-Defined Annotation Keys"). */
export interface MainLabels {
  readonly version?: string | undefined;
  readonly revision?: string | undefined;
  readonly source?: string | undefined;
  readonly licenses?: string | undefined;
}

/** Returns the main labels of a platform; those of the older label-schema.org where the publisher used them. */
export function labelsOf({ labels }: Pick<ReportedPlatform, 'labels'>): MainLabels {
  const either = (name: string, old: string): string | undefined =>
    labels[`org.opencontainers.image.${name}`] ?? labels[`org.label-schema.${old}`];
  return {
    version: either('version', 'version'),
    revision: either('revision', 'vcs-ref'),
    source: either('source', 'vcs-url'),
    licenses: either('licenses', 'license'),
  };
}
