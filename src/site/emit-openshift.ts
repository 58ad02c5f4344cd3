import { createHash } from 'node:crypto';
import { quote, type NodeAccess, type NodeFile } from './access.js';
import { joinPath } from './mirrors.js';
import type { Site, SiteName } from './names.js';
import { routesOf, unmappedPath } from './routes.js';

/** Returns the name of the objects in a file of mirror sets from an earlier run. */
export function mirrorSetName(text: string): string | undefined {
  return /^ {2}name: (airlift[a-z0-9-]{0,60})$/m.exec(text)?.[1];
}

/**
 * Formats an ImageDigestMirrorSet and an ImageTagMirrorSet for OpenShift 4.13 and later (config.openshift.io/v1): one applies to
 * pulls by digest, the other to pulls by tag. Plain HTTP and unverified certificates are a setting in the cluster's image
 * configuration. It has a file of its own, because applying it replaces a list of the cluster.
 * @param name name of both objects; the default depends on their entries, so that different sets do not replace each other
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
      // No entry can only block: names that must fail lead to a repository that does not exist at the site.
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
    '# oc apply -f mirror-sets.yaml; the nodes restart one after another to apply it.',
    ...document('ImageDigestMirrorSet', 'imageDigestMirrors'),
    '---',
    ...document('ImageTagMirrorSet', 'imageTagMirrors'),
  ];
  const files = [{ path: 'openshift/mirror-sets.yaml', text: `${lines.join('\n')}\n` }];
  if (access.plainHttp === true || access.skipVerify === true) files.push(insecureRegistry(site));
  return files;
}

function insecureRegistry(site: Site): NodeFile {
  const lines = [
    '# oc apply -f image-config.yaml: nodes then use the registry with plain HTTP or without verifying its certificate.',
    '# This replaces the list. First add the entries that `oc get image.config.openshift.io/cluster -o yaml` prints.',
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
