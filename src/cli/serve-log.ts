import type { RequestEntry } from '../index.js';
import { printableJson } from '../oci/printable.js';
import { printNote } from './print.js';

/** The log of `serve`, on standard error. */
export interface ServeLog {
  /** Undefined if requests are not logged. */
  readonly request: ((entry: RequestEntry) => void) | undefined;
  warn(message: string): void;
  /** Prints a warning unless it was printed before. */
  warnOnce(message: string): void;
  note(message: string): void;
}

/** Clients may call themselves what they like. */
const maxUserAgent = 200;
/** Warnings that are remembered. Once there are more, each is printed every time. */
const maxWarnings = 10_000;

/** Formats a request like the logs of web servers: `10.0.0.7 joe GET /v2/ 200 2 bytes 1 ms`. */
function formatRequest({
  client,
  user,
  method,
  target,
  status,
  bytes,
  isCut,
  milliseconds,
}: RequestEntry): string {
  const end = isCut ? ' cut off' : '';
  return `${client} ${user ?? '-'} ${method} ${target} ${status} ${bytes} bytes ${Math.round(milliseconds)} ms${end}`;
}

/** @param format undefined prints warnings and notes as text, and no requests */
export function serveLog(format: 'text' | 'json' | undefined): ServeLog {
  const printed = new Set<string>();
  const json = (level: string, fields: object): void =>
    printNote(printableJson({ time: new Date().toISOString(), level, ...fields }));
  const warn =
    format === 'json'
      ? (message: string): void => json('warning', { message })
      : (message: string): void => printNote(`warning: ${message}`);
  const request =
    format === 'json'
      ? ({ milliseconds, userAgent, ...entry }: RequestEntry): void =>
          json('info', {
            message: 'request',
            ...entry,
            milliseconds: Math.round(milliseconds),
            userAgent: userAgent?.slice(0, maxUserAgent),
          })
      : (entry: RequestEntry): void => printNote(formatRequest(entry));
  return {
    request: format === undefined ? undefined : request,
    warn,
    warnOnce: (message) => {
      if (printed.has(message)) return;
      if (printed.size < maxWarnings) printed.add(message);
      warn(message);
    },
    note: format === 'json' ? (message) => json('info', { message }) : printNote,
  };
}
