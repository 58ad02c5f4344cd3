import { createHash } from 'node:crypto';
import { quote, type NodeAccess, type NodeFile } from './access.js';
import { joinPath } from './mirrors.js';
import type { Site, SiteName } from './names.js';
import { routesOf, unmappedPath } from './routes.js';

/** Path of the file with the mirror sets. */
export const mirrorSetsPath = 'openshift/mirror-sets.yaml';

/** The name of the objects in a file of mirror sets that was written earlier. */
export function mirrorSetName(text: string): string | undefined {
  return /^ {2}name: (airlift[a-z0-9-]{0,60})$/m.exec(text)?.[1];
}

/**
 * An ImageDigestMirrorSet and an ImageTagMirrorSet for OpenShift 4.13 and later (config.openshift.io/v1): one holds for
 * pulls by digest, the other for pulls by tag. Plain HTTP and unverified certificates are a setting of the cluster's image
 * configuration, in a file of its own, since applying it replaces a list that the cluster may have.
 * @param name of both objects; by default one that differs wherever their entries do, so that none replaces another set's
 */
export function emitOpenShift(
  site: Site,
  access: NodeAccess,
  names: readonly SiteName[],
  name?: string,
): NodeFile[] {
  const policy = access.fallback === true ? 'AllowContactingSource' : 'NeverContactSource';
  const entries = routesOf(site, names, 'prefix').flatMap(({ registry, routes }) =>
    routes.flatMap(({ scope, path }) => [
      `    - source: ${quote(joinPath(registry, scope))}`,
      '      mirrors:',
      // There is no entry that only blocks: names that must fail lead to a repository that the site does not have.
      `        - ${quote(joinPath(site.registry, path ?? unmappedPath(registry, scope)))}`,
      `      mirrorSourcePolicy: ${policy}`,
    ]),
  );
  const set = name ?? `airlift-${createHash('sha256').update(entries.join('\n')).digest('hex').slice(0, 10)}`;
  const document = (kind: string, field: string): string[] => [
    'apiVersion: config.openshift.io/v1',
    `kind: ${kind}`,
    'metadata:',
    `  name: ${set}`,
    'spec:',
    entries.length === 0 ? `  ${field}: []` : `  ${field}:`,
    ...entries,
  ];
  const lines = [
    '# oc apply -f mirror-sets.yaml; nodes restart one after another as they take it up.',
    ...document('ImageDigestMirrorSet', 'imageDigestMirrors'),
    '---',
    ...document('ImageTagMirrorSet', 'imageTagMirrors'),
  ];
  const files = [{ path: mirrorSetsPath, text: `${lines.join('\n')}\n` }];
  if (access.plainHttp === true || access.skipVerify === true) files.push(insecureRegistry(site));
  return files;
}

function insecureRegistry(site: Site): NodeFile {
  const lines = [
    '# oc apply -f image-config.yaml lets nodes reach the registry by plain HTTP or with a certificate that is not verified.',
    '# It replaces the list: add what `oc get image.config.openshift.io/cluster -o yaml` shows there.',
    'apiVersion: config.openshift.io/v1',
    'kind: Image',
    'metadata:',
    '  name: cluster',
    'spec:',
    '  registrySources:',
    '    insecureRegistries:',
    `      - ${quote(site.registry)}`,
  ];
  return { path: 'openshift/image-config.yaml', text: `${lines.join('\n')}\n` };
}
