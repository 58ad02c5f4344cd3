import { printable } from '../oci/printable.js';
import type { RegistryHooks, RequestTrace } from '../index.js';
import { withFlags } from './hints.js';
import { printNote, printNotes } from './print.js';

/** One exchange as lines for people: method, URL, status, time; then the headers. */
export function formatTrace(trace: RequestTrace): string {
  const outcome = trace.status ?? trace.error ?? 'no answer';
  const lines = [`${trace.method} ${trace.url} ${outcome} ${Math.round(trace.milliseconds)} ms`];
  for (const [name, value] of Object.entries(trace.requestHeaders)) lines.push(`  > ${name}: ${value}`);
  for (const [name, value] of Object.entries(trace.responseHeaders)) lines.push(`  < ${name}: ${value}`);
  return lines.map(printable).join('\n');
}

/** Notes and warnings that were printed: threads that reach the same registries notice the same. */
const printed = new Set<string>();

/** Forgets what was printed. Each command line calls it, so that one that runs in the same process prints its own warnings. */
export function forgetPrinted(): void {
  printed.clear();
}

function printOnce(text: string): void {
  if (printed.has(text)) return;
  printed.add(text);
  printNote(withFlags(text));
}

/** Prints a warning, each once. */
export function warnOnce(text: string): void {
  printOnce(`warning: ${text}`);
}

/** Hooks that print traces where they are asked for, notes unless `quiet`, and warnings always. */
export function hooksOf(args: {
  readonly traceRequests: boolean;
  readonly quiet?: boolean | undefined;
}): RegistryHooks {
  return {
    warn: warnOnce,
    ...(args.quiet === true ? {} : { note: printOnce, silence: (text) => printNote(withFlags(text)) }),
    ...(args.traceRequests ? { trace: (trace) => printNotes(formatTrace(trace)) } : {}),
  };
}
