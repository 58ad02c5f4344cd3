import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test, type TestContext } from 'node:test';
import { serve } from '../src/serve/serve.js';
import { airlift } from './support/airlift.js';
import { imageOf, indexOf, layer, type TestImage } from './support/images.js';
import { layoutMembers } from './support/saved.js';
import { tarOf, type TarMember } from './support/tar.js';
import { temp } from './support/temp.js';

const image = (platform: string): TestImage => imageOf({ platform, layers: [layer([])] });
const windows = image('windows/amd64');

const emptyIndex = '{"schemaVersion":2,"manifests":[]}';
const layout = { name: 'oci-layout', content: '{"imageLayoutVersion":"1.0.0"}' };
const empty: Record<string, readonly TarMember[]> = {
  'an OCI layout': [layout, { name: 'index.json', content: emptyIndex }],
  'an OCI layout with null': [layout, { name: 'index.json', content: '{"manifests":null}' }],
  'a docker-archive': [{ name: 'manifest.json', content: '[]' }],
};

async function archive(t: TestContext, members: readonly TarMember[], name = 'a.tar'): Promise<string> {
  const path = join(temp(t), name);
  await writeFile(path, tarOf(members));
  return path;
}

suite('nothing to do is an error that says so', () => {
  for (const [what, members] of Object.entries(empty)) {
    test(`import and save of ${what} without images`, async (t) => {
      const path = await archive(t, members);
      const serving = await serve({ store: join(temp(t), 'store') }, { port: 0 });
      t.after(() => serving.close());
      const dir = temp(t);
      const commands = [
        ['import', path, '--to', `${serving.host}:${serving.port}`],
        ['import', path, '--to', `${serving.host}:${serving.port}`, '--dry-run'],
        ['import', path, path, '--to', `${serving.host}:${serving.port}`],
        ['import', path, '-o', join(dir, 'x.tar')],
        ...['k3s', 'docker-archive', 'oci-archive', 'oci-layout'].map((format) => [
          ...['save', path, '--format', format, '-o', join(dir, 'x')],
        ]),
      ];
      for (const command of commands) {
        const { stdout, stderr } = await airlift(command, { codes: [1] });
        assert.match(stderr, /^read .*a\.tar: no image found$/m, command.join(' '));
        assert.equal(stdout, '');
      }
      assert.deepEqual(readdirSync(dir), []);
    });
  }

  test('a warning names an empty archive among others', async (t) => {
    const path = await archive(t, empty['an OCI layout'] ?? []);
    const other = await archive(t, layoutMembers([{ name: 'a/b:1', image: image('linux/amd64') }]), 'b.tar');
    const { stderr, stdout } = await airlift(['import', path, other, '--to', 'site:5000', '--dry-run']);
    assert.match(stderr, /warning: .*a\.tar: no image found/);
    assert.match(stdout, /site:5000\/a\/b:1/);
  });

  test('save for Linux nodes of images for Windows', async (t) => {
    const path = await archive(t, layoutMembers([{ name: 'a/b:1', image: windows }]));
    const dir = temp(t);
    const { stdout, stderr } = await airlift(['save', path, '--format', 'k3s', '-o', `${dir}/`], {
      codes: [1],
    });
    assert.match(stderr, /^save: no image for Linux nodes; got windows\/amd64, want linux\/…$/m);
    assert.match(stderr, /hint: --platform 'windows\/amd64' saves for nodes of that platform/);
    assert.equal(stdout, '');
    assert.deepEqual(readdirSync(dir), []);
  });

  test('save for a platform that no image has, whatever is skipped, leaves no file for another', async (t) => {
    const path = await archive(t, layoutMembers([{ name: 'a/b:1', image: image('linux/amd64') }]));
    for (const [format, platform] of [
      ['k3s', 'linux/amd64,linux/s390x'],
      ['docker-archive', 'linux/s390x'],
      ['oci-archive', 'linux/s390x'],
      ['oci-layout', 'linux/s390x'],
    ] as const) {
      const dir = temp(t);
      const flags = ['--platform', platform, '--skip-missing-platforms', '-o', join(dir, 'x')];
      const { stderr } = await airlift(['save', path, '--format', format, ...flags], { codes: [1] });
      assert.match(stderr, /^save: no image for the platform; got linux\/amd64, want linux\/s390x$/m);
      assert.deepEqual(readdirSync(dir), []);
    }
  });

  test('save for nodes where one image lacks a platform writes no file for the others', async (t) => {
    const images = [
      {
        name: 'a/both:1',
        image: indexOf({
          children: [image('linux/amd64'), image('linux/arm64')].map((one, at) => ({
            image: one,
            platform: ['linux/amd64', 'linux/arm64'][at] ?? '',
          })),
        }),
      },
      { name: 'a/one:1', image: image('linux/amd64') },
    ];
    const path = await archive(t, layoutMembers(images));
    const dir = temp(t);
    const flags = ['--format', 'k3s', '--platform', 'linux/amd64,linux/arm64', '-o', `${dir}/`];
    const { stderr } = await airlift(['save', path, ...flags], { codes: [1] });
    assert.match(
      stderr,
      /^save docker\.io\/a\/one:1: platform missing; got linux\/amd64, want linux\/arm64$/m,
    );
    assert.deepEqual(readdirSync(dir), []);
  });

  test('lists that name no image', async (t) => {
    const dir = temp(t);
    const lists = {
      'empty.txt': '',
      'comments.txt': '# none\n\n',
      'empty.yaml': '---\n',
      'none.yaml': '[]\n',
      'config.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n',
    };
    for (const [name, text] of Object.entries(lists)) {
      const list = join(dir, name);
      await writeFile(list, text);
      for (const command of [
        ['list-images', list],
        ['list-images', '--json', list],
        ['export', '--images', list, '-o', join(dir, 'x.tar')],
        ['export', '--images', list, '--dry-run'],
        ['copy', '--images', list, '--to', 'site:5000'],
      ]) {
        const { stderr } = await airlift(command, { codes: [1, 2] });
        assert.ok(stderr.includes(name), `${command.join(' ')}: ${stderr}`);
      }
    }
    assert.deepEqual(readdirSync(dir).sort(), Object.keys(lists).sort());
  });

  test('import of an image list names the commands that accept lists', async (t) => {
    const list = join(temp(t), 'images.txt');
    await writeFile(list, 'docker.io/rancher/pause:3.1\n');
    const { stderr } = await airlift(['import', list, '--to', 'site:5000'], { codes: [1] });
    assert.match(
      stderr,
      /images\.txt: not a tar archive\n {2}hint: the file is text; if it lists images: airlift export --images/,
    );
  });

  test('index append without images and fields, and --platform without a platform', async (t) => {
    const append = await airlift(['index', 'append', '127.0.0.1:1/team/app:1'], { codes: [2] });
    assert.match(append.stderr, /^append to index 127\.0\.0\.1:1\/team\/app:1: nothing to add$/m);
    const path = await archive(t, layoutMembers([{ name: 'a/b:1', image: image('linux/amd64') }]));
    for (const command of [
      ['save', path, '--format', 'k3s', '-o', 'x'],
      ['export', 'a/b:1', '-o', 'x'],
      ['copy', 'a/b:1', '--to', 'site:5000'],
    ]) {
      const { stderr } = await airlift([...command, '--platform', ''], { codes: [2] });
      assert.match(stderr, /^--platform: the value is empty$/m);
    }
  });
});
