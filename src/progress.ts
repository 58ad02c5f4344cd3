import type { Digest } from './oci/digest.js';

/** What a verb reports while it works. Plain data: it may be printed as one line of JSON. */
export type ProgressEvent =
  /** An archive is opened, which may mean to unpack it first. */
  | { readonly event: 'reading'; readonly file: string }
  /** An image was looked up; `position` counts from 1. */
  | {
      readonly event: 'resolved';
      readonly image: string;
      readonly position: number;
      readonly images: number;
    }
  /** All is planned: what there is to move, and the bytes of it that an interrupted run left. */
  | {
      readonly event: 'planned';
      readonly images: number;
      /** How many of these are signatures and the like under cosign's tags. */
      readonly signatures: number;
      readonly blobs: number;
      readonly bytes: number;
      readonly resumedBytes: number;
    }
  /** An image is about to be moved; `bytes` are those of its blobs that no image before it has. */
  | {
      readonly event: 'image-planned';
      readonly image: string;
      readonly images: number;
      readonly bytes: number;
    }
  /** A blob is under way; `bytes` of `size` are in place. The first event of a blob tells what an earlier run left of it. */
  | {
      readonly event: 'blob';
      readonly digest: Digest;
      readonly size: number;
      readonly bytes: number;
      /** A repository that it belongs to. */
      readonly repository?: string | undefined;
    }
  /** A blob is done, and how. */
  | {
      readonly event: 'blob-done';
      readonly digest: Digest;
      readonly size: number;
      readonly how: 'downloaded' | 'copied' | 'uploaded' | 'mounted' | 'existed' | 'verified';
    }
  /** An image is whole. */
  | {
      readonly event: 'image-done';
      readonly image: string;
      readonly position: number;
      readonly images: number;
      readonly digest: Digest;
      readonly outcome?: 'published' | 'merged' | 'unchanged' | 'skipped' | undefined;
    }
  /** An image failed and the rest goes on. */
  | {
      readonly event: 'image-failed';
      readonly image: string;
      readonly message: string;
      readonly hint?: string | undefined;
    }
  /** Images that got one name by a rule for names, and are one image now. */
  | {
      readonly event: 'merged';
      readonly image: string;
      readonly from: readonly {
        readonly name: string;
        readonly file: string;
        readonly platforms: readonly string[];
      }[];
    }
  | { readonly event: 'warning'; readonly message: string };

export type OnEvent = (event: ProgressEvent) => void;
