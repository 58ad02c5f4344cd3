import type { PlainError } from '../errors.js';
import type { RegistryOptions, RequestTrace } from '../registry/registry.js';
import type { TransferTask } from '../transfer/transfer.js';

/** What a download worker is started with. */
export interface DownloadWorkerData {
  /** The file that blobs are written into. */
  readonly path: string;
  readonly registry: RegistryOptions;
  readonly retries: number;
  readonly isTraced: boolean;
}

export type ToWorker =
  | { readonly type: 'start'; readonly id: number; readonly task: TransferTask; readonly position: number }
  | { readonly type: 'abort' }
  | { readonly type: 'close' };

export type FromWorker =
  /** `checkpoint` is the digest of the first `bytes`, which are written. */
  | {
      readonly type: 'progress';
      readonly id: number;
      readonly bytes: number;
      readonly checkpoint: Uint8Array;
    }
  /** `received` counts the bytes that came over the network for it. */
  | { readonly type: 'done'; readonly id: number; readonly received: number }
  | { readonly type: 'failed'; readonly id: number; readonly error: PlainError }
  | { readonly type: 'trace'; readonly trace: RequestTrace }
  | { readonly type: 'warning' | 'note' | 'silence'; readonly text: string };
