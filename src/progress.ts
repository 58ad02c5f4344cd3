import type { Digest } from './oci/digest.js';

/** Progress of a function: plain data that fits on one line of JSON. Sizes are in bytes; positions count from 1. */
export type ProgressEvent =
  /** An archive is being opened; a compressed one may be unpacked first. */
  | { readonly event: 'reading'; readonly file: string }
  /** An image was resolved. */
  | {
      readonly event: 'resolved';
      readonly image: string;
      readonly position: number;
      readonly images: number;
    }
  /** The plan is complete: blobs to transfer, and the bytes of them that an interrupted run has transferred already. */
  | {
      readonly event: 'planned';
      readonly images: number;
      /** Number of these that are companions of images, such as signatures under cosign's tags. */
      readonly signatures: number;
      readonly blobs: number;
      readonly bytes: number;
      readonly resumedBytes: number;
    }
  /** The transfer of an image begins; `bytes` counts its blobs that no earlier image shares. */
  | {
      readonly event: 'image-planned';
      readonly image: string;
      readonly images: number;
      readonly bytes: number;
    }
  /** A blob is being transferred; `bytes` of `size` are in place. The first event of a blob reports the bytes of an earlier run. */
  | {
      readonly event: 'blob';
      readonly digest: Digest;
      readonly size: number;
      readonly bytes: number;
      /** A repository that holds the blob. */
      readonly repository?: string | undefined;
    }
  /** A blob is complete. */
  | {
      readonly event: 'blob-done';
      readonly digest: Digest;
      readonly size: number;
      readonly how: 'downloaded' | 'copied' | 'uploaded' | 'mounted' | 'existed' | 'verified';
    }
  /** An image is complete. */
  | {
      readonly event: 'image-done';
      readonly image: string;
      readonly position: number;
      readonly images: number;
      readonly digest: Digest;
      readonly outcome?: 'published' | 'merged' | 'unchanged' | 'skipped' | 'loaded' | 'present' | undefined;
    }
  /** An image failed; the run continues with the others. */
  | {
      readonly event: 'image-failed';
      readonly image: string;
      readonly message: string;
      readonly hint?: string | undefined;
    }
  /** Images of several inputs got the same name by a rule for names, and became one image. */
  | {
      readonly event: 'merged';
      readonly image: string;
      readonly from: readonly {
        readonly name: string;
        readonly file: string;
        readonly platforms: readonly string[];
      }[];
    }
  /** A problem that does not stop the run. */
  | { readonly event: 'warning'; readonly message: string };

/** Receives progress events, in order. */
export type OnEvent = (event: ProgressEvent) => void;
