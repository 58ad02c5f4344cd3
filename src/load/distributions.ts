import { join } from 'node:path';
import type { Compression } from '../archive/compression/decompress.js';
import type { EngineName } from './engine.js';

/** Paths and commands of a Kubernetes distribution with its own containerd. */
export interface Distribution {
  /** The default data directory. */
  readonly dataDir: string;
  /** The directory, in the data directory, whose archives the distribution imports. */
  readonly images: string;
  /** Compression of these archives. */
  readonly compression: Compression;
  /** The socket of containerd. */
  readonly socket: string;
  /** The command that starts the distribution. */
  readonly start: string;
}

const distributions: Partial<Record<EngineName, Distribution>> = {
  k3s: {
    dataDir: '/var/lib/rancher/k3s',
    images: 'agent/images',
    compression: 'zstd',
    socket: '/run/k3s/containerd/containerd.sock',
    start: 'systemctl start k3s',
  },
  rke2: {
    dataDir: '/var/lib/rancher/rke2',
    images: 'agent/images',
    compression: 'zstd',
    socket: '/run/k3s/containerd/containerd.sock',
    start: 'systemctl start rke2-server',
  },
  k0s: {
    dataDir: '/var/lib/k0s',
    images: 'images',
    // k0s passes the files to containerd as they are.
    compression: 'none',
    socket: '/run/k0s/containerd.sock',
    start: 'k0s start',
  },
};

/** Returns the distribution of that name; undefined for other engines. */
export function distributionOf(engine: EngineName): Distribution | undefined {
  return distributions[engine];
}

/** Returns the directory whose archives a distribution imports. */
export function imagesFolder({ dataDir, images }: Distribution, given: string | undefined): string {
  return join(given ?? dataDir, images);
}
