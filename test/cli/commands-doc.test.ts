import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { commandNames } from '../../src/cli/command-names.js';
import { parser } from '../../src/cli/main.js';

const path = fileURLToPath(new URL('../../../docs/commands.md', import.meta.url));

/** Returns the output of `airlift … --help`. */
async function help(args: readonly string[]): Promise<string> {
  let text = '';
  const built = await parser(args);
  await built.parseAsync([...args, '--help'], {}, (_error, _args, output) => void (text = output));
  return text.trimEnd();
}

async function render(): Promise<string> {
  const parts = [
    '# Commands',
    'The output of `--help` for every command. A test compares this page with the program; after a change of flags,',
    '`UPDATE_DOCS=1 npm test` regenerates it.',
    `\`\`\`text\n${await help([])}\n\`\`\``,
  ];
  for (const name of commandNames)
    parts.push(`## ${name}`, `\`\`\`text\n${await help(name.split(' '))}\n\`\`\``);
  return `${parts.join('\n\n').replace('flags,\n\n', 'flags,\n')}\n`;
}

test('docs/commands.md equals the output of --help', async () => {
  const want = await render();
  if (process.env['UPDATE_DOCS'] === '1') writeFileSync(path, want);
  assert.equal(readFileSync(path, 'utf8'), want);
});
