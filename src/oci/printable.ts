const named: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** Control and format characters (bidirectional marks, zero-width characters, …), line separators, and lone surrogates. */
const hidden = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

function escaped(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  const short = named[character];
  if (short !== undefined) return short;
  if (code < 0x100) return `\\x${code.toString(16).padStart(2, '0')}`;
  return code < 0x10000 ? `\\u${code.toString(16).padStart(4, '0')}` : `\\u{${code.toString(16)}}`;
}

/**
 * Escapes untrusted text so that it is one line and shows all of its characters: control characters act on a terminal, newlines
 * start lines, and bidirectional marks change the order of the text. Idempotent.
 */
export function printable(text: string): string {
  return text.replace(hidden, escaped);
}

/**
 * Shortens untrusted text to one line: replaces white space and control characters by single spaces and escapes hidden characters.
 * @param most maximum number of characters
 */
export function oneLine(text: string, most: number): string {
  return printable(text.replace(/[\p{Cc}\s]+/gu, ' ').trim()).slice(0, most);
}

/** Formats a value as JSON on one line, with hidden characters in JSON escapes; it parses to the same value. */
export function printableJson(value: unknown): string {
  return JSON.stringify(value).replace(hidden, (character) =>
    [...Array(character.length).keys()]
      .map((at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`)
      .join(''),
  );
}
