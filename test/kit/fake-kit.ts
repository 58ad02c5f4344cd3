import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { launcherFor } from '../../src/kit/launcher.js';
import { digestOf } from '../../src/oci/digest.js';

const launcherPath = fileURLToPath(new URL('../../../src/kit/launcher.sh', import.meta.url));

/** The platform of this machine. */
export const machinePlatform = process.arch === 'arm64' ? 'linux/arm64' : 'linux/amd64';

/**
 * Writes a kit whose executables are shell scripts to a directory.
 * @param scripts the body of a script per platform
 * @returns the path of the launcher
 */
export function writeFakeKit(directory: string, scripts: Readonly<Record<string, string>>): string {
  mkdirSync(directory, { recursive: true });
  const executables = Object.entries(scripts).map(([platform, script]) => {
    const content = Buffer.from(`#!/bin/sh\n${script}\n`);
    const file = `${platform.replace('/', '-')}.gz`;
    writeFileSync(join(directory, file), gzipSync(content));
    return { platform, file, digest: digestOf(content), size: content.byteLength };
  });
  const launcher = join(directory, 'airlift');
  writeFileSync(
    launcher,
    launcherFor({ launcher: readFileSync(launcherPath, 'utf8'), version: '1.2.3' }, executables),
  );
  return launcher;
}
