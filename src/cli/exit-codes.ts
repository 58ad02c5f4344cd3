import type { ErrorCode } from '../errors.js';

/** Exit codes of the program. */
export const exitCodes = {
  done: 0,
  failed: 1,
  usage: 2,
  someFailed: 3,
  damaged: 4,
  interrupted: 130,
  /** The reader of standard output is gone; shells report this code for a program that SIGPIPE ended. */
  readerGone: 141,
} as const;

const byErrorCode: Partial<Record<ErrorCode, number>> = {
  usage: exitCodes.usage,
  partial: exitCodes.someFailed,
  damaged: exitCodes.damaged,
  untrusted: exitCodes.damaged,
  interrupted: exitCodes.interrupted,
};

/** Returns the exit code for an error. */
export function exitCodeOf(code: ErrorCode | undefined): number {
  return (code === undefined ? undefined : byErrorCode[code]) ?? exitCodes.failed;
}
