import assert from 'node:assert/strict';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { delimiter, join, relative } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { needs, run } from '../support/peers.js';
import { temp } from '../support/temp.js';
import { needsRuntime, readLocalRuntime, tarballs, version } from './local-kit.js';

const project = fileURLToPath(new URL('../../..', import.meta.url));

test(
  'one tarball of npm with all dependencies installs offline, without a compiler',
  { skip: needsRuntime() || needs('tar') },
  async (t) => {
    const dir = temp(t);
    const npm = (
      args: string[],
      cwd: string,
      env: Record<string, string> = {},
    ): Promise<{ stdout: string }> =>
      run('npm', [...args, '--ignore-scripts', '--no-audit', '--no-fund'], { cwd, env });

    // As npm install --install-strategy=nested does, out of the packages that are installed here.
    await npm(['pack', '--silent', '--pack-destination', dir], project);
    await run('tar', ['xzf', `airlift-${version}.tgz`], { cwd: dir });
    const installed = (await npm(['ls', '--omit=dev', '--all', '--parseable'], project)).stdout;
    for (const path of installed.trim().split('\n')) {
      const place = relative(project, path);
      if (/^node_modules\/(?:@[^/]+\/)?[^/]+$/.test(place))
        cpSync(path, join(dir, 'package', place), { recursive: true });
    }
    await npm(['pkg', 'set', '--json', 'bundleDependencies=true'], join(dir, 'package'));
    await npm(['pack', '--silent', '--pack-destination', dir], join(dir, 'package'));

    const bin = join(dir, 'bin');
    mkdirSync(bin);
    writeFileSync(join(bin, 'node'), (await readLocalRuntime()).program, { mode: 0o755 });
    const env = {
      PATH: `${bin}${delimiter}${process.env['PATH'] ?? ''}`,
      npm_config_registry: 'http://127.0.0.1:1/',
    };
    const prefix = join(dir, 'global');
    const cache = join(dir, 'cache');
    await npm(
      ['install', '-g', '--offline', '--prefix', prefix, '--cache', cache, `./airlift-${version}.tgz`],
      dir,
      env,
    );

    const program = join(prefix, 'bin', 'airlift');
    assert.equal((await run(program, ['--version'], { env })).stdout, `${version}\n`);
    // The installation has what kits are built from.
    const kit = await run(
      program,
      ['kit', '--platform', 'amd64', '--from', tarballs, '-o', join(dir, 'kit'), '-q', '--json'],
      {
        env,
      },
    );
    assert.match(kit.stdout, /"event":"done".*"platform":"linux\/amd64"/);
  },
);
