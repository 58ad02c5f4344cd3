import { quoted } from '../oci/quoted.js';
import type { Collector } from './collector.js';

const maxLineLength = 4096;

/**
 * Reads a text list, as k3s and RKE2 publish them (`k3s-images.txt`): one reference per line, blank lines, `#` comments on
 * their own line or after a space. An invalid line becomes a problem.
 */
export function readTextList(text: string, into: Collector): void {
  let number = 0;
  for (let start = 0; start < text.length;) {
    const end = text.indexOf('\n', start);
    const line = text.slice(start, end < 0 ? text.length : end);
    start = end < 0 ? text.length : end + 1;
    number++;
    if (line.length > maxLineLength) {
      into.problem(
        number,
        `the line is too long; got ${line.length} characters, want at most ${maxLineLength}`,
      );
      continue;
    }
    const entry = line
      .trim()
      .replace(/(?:^|\s)#.*$/, '')
      .trimEnd();
    if (entry === '') continue;
    if (/\s/.test(entry)) {
      into.problem(number, `${quoted(entry, 160)} is more than one reference`);
      continue;
    }
    into.reference(entry, number);
  }
}
