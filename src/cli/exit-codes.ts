import type { ErrorCode } from '../errors.js';

/** What a script can tell a run's end by. */
export const exitCodes = {
  done: 0,
  failed: 1,
  usage: 2,
  someFailed: 3,
  damaged: 4,
  interrupted: 130,
  /** The reader of standard output went away, as a shell tells of a program that SIGPIPE ended. */
  readerGone: 141,
} as const;

const ofCode: Partial<Record<ErrorCode, number>> = {
  usage: exitCodes.usage,
  partial: exitCodes.someFailed,
  damaged: exitCodes.damaged,
  interrupted: exitCodes.interrupted,
};

/** The exit code that goes with an error. */
export function exitCodeOf(code: ErrorCode | undefined): number {
  return (code === undefined ? undefined : ofCode[code]) ?? exitCodes.failed;
}
