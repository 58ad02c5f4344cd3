import { quote, type NodeAccess, type NodeFile } from './access.js';
import { joinPath, mirrorsOf } from './mirrors.js';
import type { Site, SiteName } from './names.js';

/**
 * An ImageDigestMirrorSet and an ImageTagMirrorSet for OpenShift 4.13 and later (config.openshift.io/v1): one holds for
 * pulls by digest, the other for pulls by tag.
 */
export function emitOpenShift(site: Site, access: NodeAccess, names: readonly SiteName[]): NodeFile {
  const mirrors = mirrorsOf(site, names);
  const policy = access.fallback === true ? 'AllowContactingSource' : 'NeverContactSource';
  const document = (kind: string, field: string): string[] => [
    'apiVersion: config.openshift.io/v1',
    `kind: ${kind}`,
    'metadata:',
    '  name: airlift',
    'spec:',
    mirrors.length === 0 ? `  ${field}: []` : `  ${field}:`,
    ...mirrors.flatMap((mirror) => [
      `    - source: ${quote(joinPath(mirror.registry, mirror.scope))}`,
      '      mirrors:',
      `        - ${quote(joinPath(site.registry, mirror.path))}`,
      `      mirrorSourcePolicy: ${policy}`,
    ]),
  ];
  const lines = [
    '# oc apply -f mirror-sets.yaml; nodes restart one after another as they take it up.',
    ...document('ImageDigestMirrorSet', 'imageDigestMirrors'),
    '---',
    ...document('ImageTagMirrorSet', 'imageTagMirrors'),
  ];
  return { path: 'openshift/mirror-sets.yaml', text: `${lines.join('\n')}\n` };
}
