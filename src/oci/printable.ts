const named: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** Control and format characters (bidirectional marks, zero-width characters, …), line separators, and halves of surrogate pairs. */
const hidden = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

function escaped(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  const short = named[character];
  if (short !== undefined) return short;
  if (code < 0x100) return `\\x${code.toString(16).padStart(2, '0')}`;
  return code < 0x10000 ? `\\u${code.toString(16).padStart(4, '0')}` : `\\u{${code.toString(16)}}`;
}

/**
 * Text from outside as one line that shows all of it: a terminal obeys control characters, newlines make lines of their own, and
 * bidirectional marks change what is read. Applied twice it changes nothing more.
 */
export function printable(text: string): string {
  return text.replace(hidden, escaped);
}

/**
 * Text from outside as one short line: white space and control characters become single spaces, and what is hidden is shown.
 * @param most characters that are kept
 */
export function oneLine(text: string, most: number): string {
  return printable(text.replace(/[\p{Cc}\s]+/gu, ' ').trim()).slice(0, most);
}

/** JSON of a value on one line, with the same characters escaped as JSON escapes them; it parses to the same value. */
export function printableJson(value: unknown): string {
  return JSON.stringify(value).replace(hidden, (character) =>
    [...Array(character.length).keys()]
      .map((at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`)
      .join(''),
  );
}
