/** The labels that a reader looks for first (image-spec, annotations.md, "Pre-Defined Annotation Keys"). */
export interface MainLabels {
  readonly version?: string | undefined;
  readonly revision?: string | undefined;
  readonly source?: string | undefined;
  readonly licenses?: string | undefined;
}

/** Returns the main labels of a platform; those of the older label-schema.org where the publisher used them. */
export function labelsOf({ labels }: { readonly labels: Readonly<Record<string, string>> }): MainLabels {
  const either = (name: string, old: string): string | undefined =>
    labels[`org.opencontainers.image.${name}`] ?? labels[`org.label-schema.${old}`];
  return {
    version: either('version', 'version'),
    revision: either('revision', 'vcs-ref'),
    source: either('source', 'vcs-url'),
    licenses: either('licenses', 'license'),
  };
}

const mainNames = ['version', 'revision', 'source', 'licenses', 'license', 'vcs-ref', 'vcs-url'];

/** Selects the labels that `labelsOf` reads. */
export function mainLabelsOf(labels: Readonly<Record<string, string>>): Record<string, string> {
  const isMain = (name: string): boolean =>
    mainNames.some((end) => name === `org.opencontainers.image.${end}` || name === `org.label-schema.${end}`);
  return Object.fromEntries(Object.entries(labels).filter(([name]) => isMain(name)));
}
