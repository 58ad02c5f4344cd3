/** Reads the commands in the documentation, with the output shown for each. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export interface DocExample {
  /** `README.md:34` */
  readonly where: string;
  /** A shell line, without `$ ` and without a trailing comment. */
  readonly command: string;
  /** The output lines below the command; empty if the page shows none. */
  readonly output: readonly string[];
}

/** Returns the path of a file of the project, relative to `dist/test/support`. */
export function projectFile(path: string): string {
  return fileURLToPath(new URL(`../../../${path}`, import.meta.url));
}

/** Returns the examples of a page: blocks indented by four spaces whose commands begin with `$ `. */
export function docExamples(path: string): DocExample[] {
  const examples: { where: string; command: string; output: string[] }[] = [];
  let isOpen = false;
  for (const [index, line] of readFileSync(projectFile(path), 'utf8').split('\n').entries()) {
    const command = /^ {4}\$ (.*)$/.exec(line)?.[1];
    if (command !== undefined) {
      examples.push({ where: `${path}:${index + 1}`, command: command.replace(/\s+# .*$/, ''), output: [] });
      isOpen = true;
    } else if (!line.startsWith('    ') && line !== '') isOpen = false;
    else if (isOpen) examples.at(-1)?.output.push(line.slice(4));
  }
  for (const { output } of examples) while (output.at(-1) === '') output.pop();
  return examples;
}

/** Replaces values that differ from run to run (digests, sizes, times and dates), and sorts the lines of concurrent work. */
export function masked(lines: readonly string[]): string[] {
  const plain = lines.map((line) =>
    line
      .replaceAll(/sha256:(?:[0-9a-f]{12,64}|…)/g, 'sha256:DIGEST')
      .replaceAll(/\b\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME')
      .replaceAll(/\b\d+(?:\.\d+)? (?:B|kB|MB|GB|KiB|MiB|GiB)(?=\W|$)/g, 'SIZE')
      .replaceAll(/\b\d+(?:\.\d+)? m?s\b/g, 'SECONDS')
      // The number of blobs before an interruption varies, as does the registry that serves a blob which several share.
      .replaceAll(/\b\d+ blobs(?=, SIZE to transfer, SIZE kept)/g, 'N blobs')
      .replaceAll(/^(requests to \S+: .*?), \d+ other lookups, \d+ blobs$/g, '$1, N other lookups, N blobs')
      .replace(/^(next: docker pull \S+?)\/\S+$/, '$1/IMAGE')
      .replaceAll(/ {2,}(?=\S)/g, (spaces, at: number) => (at === 0 ? spaces : ' '))
      .replaceAll(/^(Resolved|Progress): \d+\//g, '$1: N/')
      .trimEnd(),
  );
  const isConcurrent = (line: string): boolean =>
    /^(?:(?:Resolved|Progress|published|not kept): | {2}\S+@sha256:)/.test(line);
  const concurrent = plain.filter(isConcurrent).sort();
  return plain.map((line) => (isConcurrent(line) ? (concurrent.shift() ?? line) : line));
}
