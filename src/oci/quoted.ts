/**
 * Text that somebody typed where a name belongs, as it may be shown: addresses that are pasted there may have a user name and
 * password (RFC 3986 section 3.2.1), or a signature in their query. A digest behind an `@` stays.
 */
export function withoutSecrets(text: string): string {
  return text
    .replace(/\/\/.*@(?!sha\d+:)/s, '//***@')
    .replace(/^[^/@]*:[^/@]*@(?!sha\d+:)/, '***@')
    .replace(/\?.*$/s, '?***');
}

/** The same in quotes, cut to a length that fits into a message. */
export function quoted(text: string, longest = 300): string {
  return JSON.stringify(withoutSecrets(text).slice(0, longest));
}
