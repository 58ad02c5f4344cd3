import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { commandNames } from '../../src/cli/command-names.js';
import { parser } from '../../src/cli/main.js';

const path = fileURLToPath(new URL('../../../docs/commands.md', import.meta.url));

/** Returns the output of `airlift … --help`, with lines of at most `columns`. */
async function help(args: readonly string[], columns = 110): Promise<string> {
  let text = '';
  const built = (await parser(args)).wrap(columns);
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

test('every flag is described in at most 80 characters', async () => {
  let flags = 0;
  for (const name of commandNames) {
    const lines = (await help(name.split(' '), 500)).split('\n');
    for (const line of lines) {
      const [, flag = '', describe = ''] =
        /^ +(?:-\w, )?(--[\w-]+) +(.*?)(?: *\[[^\]]*\])+$/.exec(line) ?? [];
      if (flag === '') continue;
      flags++;
      assert.ok(describe.length > 0 && describe.length <= 80, `${name} ${flag}: ${describe}`);
    }
  }
  assert.ok(flags > 200, `${flags} flags`);
});
