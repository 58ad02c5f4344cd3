import type { RegistryHooks } from '../registry/options.js';
import type { RequestTrace } from '../registry/trace.js';
import type { RegistryArguments } from './access.js';
import { printNote } from './print.js';

/** One exchange as lines for people: method, URL, status, time; then the headers. */
export function formatTrace(trace: RequestTrace): string {
  const outcome = trace.status ?? trace.error ?? 'no answer';
  const lines = [`${trace.method} ${trace.url} ${outcome} ${Math.round(trace.milliseconds)} ms`];
  for (const [name, value] of Object.entries(trace.requestHeaders)) lines.push(`  > ${name}: ${value}`);
  for (const [name, value] of Object.entries(trace.responseHeaders)) lines.push(`  < ${name}: ${value}`);
  return lines.join('\n');
}

/** Hooks that print traces where they are asked for, and warnings always. */
export function hooksOf(args: Pick<RegistryArguments, 'traceRequests'>): RegistryHooks {
  const warn = (text: string): void => printNote(`warning: ${text}`);
  return args.traceRequests ? { warn, trace: (trace) => printNote(formatTrace(trace)) } : { warn };
}
