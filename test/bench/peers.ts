/** The other tools, and the commands that their users type. */
import { findVersions, type Version } from '../support/versions.js';
import type { ImageList } from './image-list.js';

export type Tool = 'oras' | 'crane' | 'skopeo';

/** A program to compare airlift with. */
export type FoundPeer = Version<Tool>;

/** Returns the installed programs, and those named by `AIRLIFT_BENCH_ORAS`, `AIRLIFT_BENCH_CRANE` and `AIRLIFT_BENCH_SKOPEO`. */
export function findPeers(env: NodeJS.ProcessEnv): Promise<FoundPeer[]> {
  return findVersions(['oras', 'crane', 'skopeo'], 'AIRLIFT_BENCH_', env);
}

/** Quotes a word for the shell. */
export const quote = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;

/** Returns a command that runs a shell script and stops at the first error. */
export function script(...lines: readonly string[]): readonly string[] {
  return ['sh', '-ec', lines.join('\n')];
}

/** Returns a shell loop over the images of a list; the command reads `$image` and `$name`. */
function each(list: ImageList, command: string): string {
  return `while read -r image name; do ${command} </dev/null; done <${quote(list.path)}`;
}

/** Returns the command that copies all images from a registry to the OCI layout `DIR/layout` and packs it to `DIR/layout.tar`. */
export function exportWith(peer: FoundPeer, host: string, list: ImageList, dir: string): readonly string[] {
  const [program, layout] = [quote(peer.path), quote(`${dir}/layout`)];
  const images = list.images.map((image) => `${host}/${image}`).join(' ');
  const copy: Record<Tool, string> = {
    oras: each(list, `${program} cp --from-plain-http --to-oci-layout ${host}/"$image" ${layout}:"$name"`),
    crane: `${program} pull --insecure --format=oci ${images} ${layout}`,
    skopeo: each(
      list,
      `${program} copy --quiet --all --src-tls-verify=false docker://${host}/"$image" oci:${layout}:"$name"`,
    ),
  };
  return script(copy[peer.tool], `tar -cf ${layout}.tar -C ${layout} .`);
}

/** What `exportWith` runs, as Markdown. */
export const exportText: Readonly<Record<Tool, string>> = {
  oras: '`oras cp --to-oci-layout` of each image into one layout, then `tar`',
  crane: '`crane pull --format=oci` of all images into one layout, then `tar`',
  skopeo: '`skopeo copy --all` of each image into one OCI layout, then `tar`',
};

/** Returns the shell command that copies all images from an OCI layout (for oras: or a tar of it) to a registry. */
function importCommand(peer: FoundPeer, layout: string, list: ImageList, host: string): string {
  const [program, from] = [quote(peer.path), quote(layout)];
  return each(
    list,
    peer.tool === 'oras'
      ? `${program} cp --from-oci-layout --to-plain-http ${from}:"$name" ${host}/"$image"`
      : `${program} copy --quiet --all --dest-tls-verify=false oci:${from}:"$name" docker://${host}/"$image"`,
  );
}

/** Returns the command that copies all images from an OCI layout (for oras: or a tar of it) to a registry. */
export function importWith(
  peer: FoundPeer,
  layout: string,
  list: ImageList,
  host: string,
): readonly string[] {
  return script(importCommand(peer, layout, list, host));
}

/** Returns the command that unpacks a tar of an OCI layout to `DIR`, then copies all images from there to a registry. */
export function unpackAndImportWith(
  peer: FoundPeer,
  tar: string,
  dir: string,
  list: ImageList,
  host: string,
): readonly string[] {
  return script(`tar -xf ${quote(tar)} -C ${quote(dir)}`, importCommand(peer, dir, list, host));
}

/** What `importWith` runs, as Markdown. */
export const importText: Readonly<Record<'oras' | 'skopeo', string>> = {
  oras: '`oras cp --from-oci-layout` of each image',
  skopeo: '`skopeo copy --all oci:…` of each image',
};
