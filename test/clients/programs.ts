import { needs, type Peer } from '../support/peers.js';
import { findVersions, type Version } from '../support/versions.js';

/** The clients, in the order in which they run. */
const tools = [
  'skopeo',
  'crane',
  'oras',
  'cosign',
  'containerd',
  'dockerd',
] as const satisfies readonly Peer[];
type Tool = (typeof tools)[number];

const found = await findVersions(tools, 'AIRLIFT_CLIENT_', process.env);

/** Returns the versions of a client: those that `AIRLIFT_CLIENT_*` names, and the installed one where it works. */
export function versionsOf(tool: Tool): readonly Version<Tool>[] {
  return found.filter((version) => version.tool === tool);
}

/** The path of one version of a client, for what is not repeated with each; the name if there is none, so that the test says so. */
export function anyOf(tool: Tool): string {
  return versionsOf(tool)[0]?.path ?? tool;
}

/** Returns why a client cannot be used here, or false. */
export function needsClients(...names: Tool[]): string | false {
  const missing = names.find((tool) => versionsOf(tool).length === 0);
  return missing === undefined
    ? false
    : `no ${missing}: install it, or name it in AIRLIFT_CLIENT_${missing.toUpperCase()}`;
}

// `run` accepts only programs that a test names: the installed ones serve a dockerd or containerd that has none beside it.
needs('docker', 'ctr', 'runc');
