import { versionsOf } from './programs.js';

/** A version of docker with one of its image stores. */
interface DockerStore {
  readonly program: string;
  readonly title: string;
  /** Whether images are in containerd's store, which keeps indexes and their digests. */
  readonly usesContainerd: boolean;
  /** What `daemon.json` says about the store. */
  readonly daemon: object;
  readonly storageDriver: string;
}

/** Returns each version of docker with each of its image stores: since 24, containerd's can be chosen. */
export function dockerStores(): DockerStore[] {
  return versionsOf('dockerd').flatMap(({ path: program, title }) => {
    const own = { program, title, usesContainerd: false, daemon: {}, storageDriver: 'vfs' };
    const features = { 'containerd-snapshotter': true };
    const containerd = {
      program,
      title: `${title} with containerd's store`,
      usesContainerd: true,
      daemon: { features },
      storageDriver: 'native',
    };
    return Number(/ (\d+)\./.exec(title)?.[1]) >= 24 ? [own, containerd] : [own];
  });
}
