/**
 * Removes secrets from text that a user typed instead of a name: a pasted URL may contain a user name and password (RFC 3986 section
 * 3.2.1), or a signature in its query. A digest after an `@` stays.
 */
export function withoutSecrets(text: string): string {
  return text
    .replace(/\/\/.*@(?!sha\d+:)/s, '//***@')
    .replace(/^[^/@]*:[^/@]*@(?!sha\d+:)/, '***@')
    .replace(/\?.*$/s, '?***');
}

/** Quotes such text for a message: without secrets, cut to `longest` characters. */
export function quoted(text: string, longest = 300): string {
  return JSON.stringify(withoutSecrets(text).slice(0, longest));
}
