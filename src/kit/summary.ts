import type { Digest } from '../oci/digest.js';
import type { Runtime } from './runtimes.js';

/** An executable of a kit. */
export interface KitExecutable {
  readonly platform: string;
  /** File name in the kit's directory; compressed by gzip. */
  readonly file: string;
  /** Digest and bytes of the executable when it is unpacked. */
  readonly digest: Digest;
  readonly size: number;
  /** Bytes on the medium. */
  readonly compressedSize: number;
  /** The Node.js in it. */
  readonly runtime: Pick<Runtime, 'package' | 'version' | 'integrity' | 'program'>;
}

export interface KitSummary {
  /** The kit's directory. */
  readonly directory: string;
  /** The instructions for the site. */
  readonly readme: string;
  readonly executables: readonly KitExecutable[];
  /** File names of archives of the image in the kit's directory: for all platforms, then for docker one per platform. */
  readonly images: readonly string[];
  /** Digest of the kit's SHA256SUMS, to send to the site separately. */
  readonly sums: Digest;
}
