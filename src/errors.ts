/**
 * Kinds of errors: a closed set for programs to switch on. People read the message.
 *
 * - `usage`: the call is wrong: an option, a reference, a line of a list
 * - `input`: a file, a document or a response is malformed
 * - `not-found`: the registry or the bundle does not hold the content
 * - `platform-missing`: an image lacks a requested platform
 * - `unauthorized`: credentials are missing or wrong (401) · `denied`: the credentials lack a permission (403)
 * - `digest-mismatch`, `size-mismatch`: content does not match its descriptor
 * - `damaged`: a bundle or an archive is damaged
 * - `untrusted`: a required signature is missing, by another key, or over other content
 * - `unsupported`: airlift recognizes the content and cannot carry it (Docker schema 1, bzip2, …)
 * - `registry`: the registry returned an error or violated the protocol
 * - `rate-limited`: the registry demands a longer wait than allowed (429)
 * - `network`: the connection failed (DNS, refused, reset, stalled) · `tls`: the certificate or the handshake failed
 * - `no-space`: the disk or the quota is full · `exists`: the output exists · `busy`: another process uses the file
 * - `io`: the operating system refused a file operation
 * - `engine`: a container engine is missing, refuses access or fails
 * - `conflict`: two inputs contradict each other
 * - `partial`: some images failed and the others are done (`keepGoing`)
 * - `interrupted`: the caller aborted the signal
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
  | 'untrusted'
  | 'unsupported'
  | 'registry'
  | 'rate-limited'
  | 'network'
  | 'tls'
  | 'no-space'
  | 'exists'
  | 'busy'
  | 'io'
  | 'engine'
  | 'conflict'
  | 'partial'
  | 'interrupted';

/** Optional parts of an error. */
export interface ErrorDetails {
  /** The next step for the user, without the word "hint". It names options of this library in backticks. */
  hint?: string | undefined;
  cause?: unknown;
  /** HTTP status of the registry's response. */
  status?: number | undefined;
  /** Error code in the registry's response, such as `MANIFEST_BLOB_UNKNOWN` (distribution-spec, "Error Codes"). */
  reason?: string | undefined;
  /** Further lines of the message, one for each problem. */
  lines?: readonly string[] | undefined;
}

/**
 * The class of all errors that airlift throws. The message reads `<action> <thing>: <what happened>; got X, want Y`, in lower case.
 * Messages contain no secrets: the code that throws leaves them out.
 */
export class AirliftError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly status: number | undefined;
  readonly reason: string | undefined;
  /** The message line by line. A line break inside a line comes from foreign text. */
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

/** Reports whether `error` is an AirliftError with one of `codes`; without `codes`, any code matches. */
export function isAirliftError(error: unknown, ...codes: ErrorCode[]): error is AirliftError {
  return error instanceof AirliftError && (codes.length === 0 || codes.includes(error.code));
}

/** Returns the `interrupted` error for an aborted signal; if the signal's reason is an AirliftError, returns that. */
export function interruption(doing: string, signal: AbortSignal): AirliftError {
  const reason: unknown = signal.reason;
  if (isAirliftError(reason)) return reason;
  return new AirliftError('interrupted', `${doing}: interrupted`, { cause: reason });
}

/**
 * Throws if the signal is aborted.
 * @param doing the action that is interrupted, for the message
 * @throws AirliftError `interrupted`
 */
export function checkInterrupted(signal: AbortSignal | undefined, doing: string): void {
  if (signal?.aborted === true) throw interruption(doing, signal);
}

/**
 * Returns the message of any thrown value, for use inside another message. Node's `ENOENT: no such file or directory, open 'a.tar'`
 * becomes `no such file or directory (ENOENT)`: the other message names the file.
 */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const [, code, text] = /^(E[A-Z0-9]+): (.*?), [a-z]+(?: '.*')?$/s.exec(error.message) ?? [];
  return text !== undefined && systemCodeOf(error) === code ? `${text} (${code})` : error.message;
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

/** Returns the system's error code of any thrown value (`ENOENT`, `ECONNRESET`, …), if it has one. */
export function systemCodeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/**
 * Reports whether the operating system refused to store more: the disk or the quota is full, or the file reached the limit of the
 * filesystem or of `ulimit -f`.
 */
export function isOutOfSpace(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(systemCodeOf(error) ?? '');
}

/** Reports whether a file operation failed because its path does not exist. */
export function isMissingPath(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR'].includes(systemCodeOf(error) ?? '');
}

/** An AirliftError as plain data, for JSON and for messages between threads. */
export interface PlainError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint?: string | undefined;
  readonly status?: number | undefined;
}

/** Converts any thrown value to plain data; the code is `io` unless it is an AirliftError. */
export function toPlainError(error: unknown): PlainError {
  if (!(error instanceof AirliftError)) return { code: 'io', message: messageOf(error) };
  return { code: error.code, message: error.message, hint: error.hint, status: error.status };
}

/** Converts plain data back to an error. */
export function fromPlainError({ code, message, hint, status }: PlainError): AirliftError {
  return new AirliftError(code, message, { hint, status });
}
