/**
 * What went wrong, as a closed set that code may switch on; people read the message.
 *
 * - `usage`: the call itself is wrong (a flag, a reference, a list line)
 * - `input`: a file, document or answer given to airlift is malformed
 * - `not-found`: the registry or bundle does not hold the thing
 * - `platform-missing`: an image lacks a wanted platform
 * - `unauthorized`: no or wrong credentials (401) · `denied`: credentials lack the right (403)
 * - `digest-mismatch`, `size-mismatch`: content is not what its descriptor says
 * - `damaged`: a bundle or archive is broken
 * - `unsupported`: understood, but not carried (Docker schema 1, bzip2, …)
 * - `registry`: the registry answered with an error or against the protocol
 * - `rate-limited`: the registry asks to wait longer than allowed (429)
 * - `network`: no answer (DNS, refused, reset, stalled) · `tls`: certificate or handshake
 * - `no-space`: the disk is too small · `exists`: the thing is already there · `busy`: in use by another run
 * - `io`: the operating system refused a file operation
 * - `conflict`: two inputs contradict each other
 * - `partial`: some images failed, the rest is done (`--keep-going`)
 * - `interrupted`: stopped by the user
 */
export type ErrorCode =
  | 'usage'
  | 'input'
  | 'not-found'
  | 'platform-missing'
  | 'unauthorized'
  | 'denied'
  | 'digest-mismatch'
  | 'size-mismatch'
  | 'damaged'
  | 'unsupported'
  | 'registry'
  | 'rate-limited'
  | 'network'
  | 'tls'
  | 'no-space'
  | 'exists'
  | 'busy'
  | 'io'
  | 'conflict'
  | 'partial'
  | 'interrupted';

/** What else an error carries: the next thing to do, and what caused it. */
export interface ErrorDetails {
  /** What to do next, without the word "hint". */
  hint?: string | undefined;
  cause?: unknown;
  /** HTTP status where a registry answered. */
  status?: number | undefined;
  /** The registry's own code, such as `MANIFEST_BLOB_UNKNOWN` (distribution-spec, "Error Codes"). */
  reason?: string | undefined;
  /** More lines below the message, where several things are wrong: each is printed on a line of its own. */
  lines?: readonly string[] | undefined;
}

/**
 * The one error class. The message reads `<what was attempted> <which thing>: <what happened>; got X, want Y`, in lower
 * case, with secrets left out by whoever throws.
 */
export class AirliftError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly status: number | undefined;
  readonly reason: string | undefined;
  /** The message line by line. A line break within one of them came from outside. */
  readonly lines: readonly string[];

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    const lines = [message, ...(details.lines ?? [])];
    super(lines.join('\n  '), details.cause === undefined ? undefined : { cause: details.cause });
    this.lines = lines;
    this.name = 'AirliftError';
    this.code = code;
    this.hint = details.hint;
    this.status = details.status;
    this.reason = details.reason;
  }
}

/** Whether `error` is an AirliftError of one of `codes` (of any code where none is named). */
export function isAirliftError(error: unknown, ...codes: ErrorCode[]): error is AirliftError {
  return error instanceof AirliftError && (codes.length === 0 || codes.includes(error.code));
}

/** The error of work that its signal stopped. */
export function interruption(doing: string, signal: AbortSignal): AirliftError {
  const reason: unknown = signal.reason;
  if (isAirliftError(reason)) return reason;
  return new AirliftError('interrupted', `${doing}: interrupted`, { cause: reason });
}

/**
 * Ends work whose signal is aborted.
 * @param doing what is interrupted, for the message
 * @throws AirliftError `interrupted`
 */
export function checkInterrupted(signal: AbortSignal | undefined, doing: string): void {
  if (signal?.aborted === true) throw interruption(doing, signal);
}

/** The message of anything that was thrown, for use inside another message. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** How many problems an error lists; it counts the others. */
export const maxProblemsShown = 50;

/**
 * Returns the first `most` lines, followed by `and N more` when there are more.
 * @param total the number of lines, when `lines` holds only the first of them
 */
export function firstLines(lines: readonly string[], most: number, total = lines.length): string[] {
  const shown = lines.slice(0, most);
  return total > shown.length ? [...shown, `and ${total - shown.length} more`] : shown;
}

/** Returns the first `most` names on one line: `a, b and 3 more`. */
export function firstNames(names: readonly string[], most: number): string {
  const shown = names.slice(0, most).join(', ');
  return names.length > most ? `${shown} and ${names.length - most} more` : shown;
}

/**
 * Returns the `usage` error for an input with several problems: it counts them and lists the first.
 * @param total the number of problems, when `problems` holds only the first of them
 */
export function problemsError(
  doing: string,
  problems: readonly string[],
  total = problems.length,
): AirliftError {
  const count = total === 1 ? '1 problem' : `${total} problems`;
  return new AirliftError('usage', `${doing}: ${count}`, {
    lines: firstLines(problems, maxProblemsShown, total),
  });
}

/** The system's error code (`ENOENT`, `ECONNRESET`, …) of anything that was thrown, where it has one. */
export function systemCodeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/**
 * Whether the operating system refused to store more: the disk or the quota is full, or the file is as large as the filesystem or
 * `ulimit -f` lets it be.
 */
export function isOutOfSpace(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(systemCodeOf(error) ?? '');
}

/** An error as plain data, to cross from a worker thread or into JSON. */
export interface PlainError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint?: string | undefined;
  readonly status?: number | undefined;
}

/** An error as plain data; what is not an AirliftError becomes `io`. */
export function toPlainError(error: unknown): PlainError {
  if (!(error instanceof AirliftError)) return { code: 'io', message: messageOf(error) };
  return { code: error.code, message: error.message, hint: error.hint, status: error.status };
}

/** The error that `toPlainError` made plain. */
export function fromPlainError({ code, message, hint, status }: PlainError): AirliftError {
  return new AirliftError(code, message, { hint, status });
}
