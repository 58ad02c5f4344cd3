import { printable } from '../oci/printable.js';

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text that is safe inside an HTML element or a quoted attribute. */
export class Html {
  constructor(readonly text: string) {}
}

type Part = string | number | Html | readonly Html[];

function partText(part: Part): string {
  if (part instanceof Html) return part.text;
  if (typeof part === 'number') return String(part);
  if (typeof part !== 'string') return part.map(({ text }) => text).join('');
  return printable(part).replace(/[&<>"']/g, (character) => entities[character] ?? '');
}

/**
 * Template tag for HTML. Escapes every inserted string: names, labels and messages in a report come from outside, and may contain markup
 * or characters that change the direction of text.
 */
export function markup(parts: TemplateStringsArray, ...values: readonly Part[]): Html {
  return new Html(parts.reduce((text, part, at) => text + partText(values[at - 1] ?? '') + part));
}
