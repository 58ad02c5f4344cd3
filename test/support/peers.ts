/** Finds, probes and runs the programs that tests check airlift against. */
import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';

/** The Debian package of each program. */
const packages = {
  'docker-registry': 'docker-registry',
  skopeo: 'skopeo',
  umoci: 'umoci',
  cosign: 'cosign',
  crane: 'crane',
  oras: 'oras',
  podman: 'podman',
  minisign: 'minisign',
  containerd: 'containerd',
  ctr: 'containerd',
  runc: 'runc',
  dockerd: 'docker.io',
  docker: 'docker.io',
  sqlite3: 'sqlite3',
  zstd: 'zstd',
  lz4: 'lz4',
  bzip2: 'bzip2',
  xz: 'xz-utils',
  gzip: 'gzip',
  htpasswd: 'apache2-utils',
  openssl: 'openssl',
  tar: 'tar',
  sha256sum: 'coreutils',
  split: 'coreutils',
  time: 'time',
  curl: 'curl',
  'qemu-aarch64-static': 'qemu-user-static',
  setpriv: 'util-linux',
  kubectl: 'kubectl',
  python3: 'python3',
  chromium: 'chromium',
} as const;

export type Peer = keyof typeof packages;

/** Returns the absolute path of a program, or undefined if it is not installed. Also searches the `sbin` directories. */
export function peer(name: Peer): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin'];
  for (const folder of folders) {
    const path = join(folder === '' ? '.' : folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      continue;
    }
  }
  return undefined;
}

/** Returns the path of a program that the test names in `needs`; throws for other programs, even if they are installed. */
export function peerPath(name: Peer): string {
  if (!reasons.has(name)) throw new Error(`a test uses ${name} but does not name it in needs('${name}')`);
  const path = peer(name);
  if (path === undefined) throw new Error(`${name} is not installed (apt install ${packages[name]})`);
  return path;
}

/** Returns the program `name` in the directory of another program; without that, `name` itself, which `run` looks up. */
export function beside(program: string | undefined, name: Peer): string {
  if (program === undefined) return name;
  const path = join(dirname(program), name);
  return existsSync(path) ? path : name;
}

/** Returns PATH with the directory of a program first, and with the `sbin` directories. */
export function pathWith(program: string | undefined): string {
  const first = program === undefined ? [] : [dirname(program)];
  return [...first, process.env['PATH'] ?? '', '/usr/local/sbin', '/usr/sbin', '/sbin'].join(delimiter);
}

const reasons = new Map<Peer, string | false>();

/** Returns why a program cannot be used here, or false. Programs that require privileges are started once to find out. */
function reasonAgainst(name: Peer): string | false {
  if (peer(name) === undefined) return `${name} is not installed (apt install ${packages[name]})`;
  if (name === 'containerd') return probe(name, ['ctr'], containerdProbe);
  if (name === 'dockerd') return probe(name, ['docker'], dockerdProbe);
  if (name === 'podman') return probe(name, [], podmanProbe);
  return false;
}

/**
 * Returns a value for the `skip` option of node:test: false if all the programs can be used here, else the reason to skip.
 * @example test('umoci reads the bundle', { skip: needs('umoci') }, async (t) => { … });
 */
export function needs(...names: Peer[]): string | false {
  for (const name of names) {
    let reason = reasons.get(name);
    if (reason === undefined) {
      reason = reasonAgainst(name);
      reasons.set(name, reason);
    }
    if (reason !== false) return reason;
  }
  return false;
}

const waitAndStop = `
  for _ in $(seq 150); do
    if "$@" >/dev/null 2>>"$dir/log"; then answered=1; break; fi
    kill -0 $pid 2>/dev/null || break
    sleep 0.1
  done
  kill -TERM $pid 2>/dev/null; wait $pid 2>/dev/null
  if [ -z "$answered" ]; then tail -n 3 "$dir/log"; fi
  rm -rf "$dir"; [ -n "$answered" ]`;

const containerdProbe = `
  dir=$(mktemp -d) && answered= && export CONTAINERD_ADDRESS=$dir/sock
  containerd --root $dir/root --state $dir/state --address $dir/sock >$dir/log 2>&1 & pid=$!
  set -- ctr -a $dir/sock version ${waitAndStop}`;

const dockerdProbe = `
  dir=$(mktemp -d) && answered=
  dockerd --data-root $dir/data --exec-root $dir/exec --pidfile $dir/pid -H unix://$dir/sock \\
    --iptables=false --bridge=none --storage-driver=vfs >$dir/log 2>&1 & pid=$!
  set -- docker -H unix://$dir/sock version ${waitAndStop}`;

const podmanProbe = `
  dir=$(mktemp -d)
  podman --root $dir/root --runroot $dir/run --storage-driver vfs info >$dir/log 2>&1; code=$?
  [ $code = 0 ] || tail -n 3 $dir/log
  rm -rf $dir; exit $code`;

function probe(name: Peer, others: Peer[], script: string): string | false {
  const missing = needs(...others);
  if (missing !== false) return missing;
  const path = `${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin:/sbin`;
  const result = spawnSync('sh', ['-c', script], {
    env: { ...process.env, PATH: path },
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 60_000,
  });
  if (result.status === 0) return false;
  const output = `${result.stdout}${result.stderr}`.trim().replaceAll(/\s+/g, ' ').slice(-400);
  return `${name} does not work here${process.getuid?.() === 0 ? '' : ' (it requires root)'}: ${output}`;
}

export interface RunOptions {
  readonly cwd?: string;
  /** Changes to this process's environment; undefined removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly input?: string | Uint8Array;
  /** Exit codes that are not failures (default: `[0]`). */
  readonly codes?: readonly number[];
  /** Milliseconds after which the program is killed (default: 5 minutes). */
  readonly timeout?: number;
}

export interface RunResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Standard output, undecoded. */
  readonly bytes: Buffer;
}

/** Runs a program and collects its output. Fails with its stderr if the exit code is not in `options.codes`. */
export async function run(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  const name = command in packages ? peerPath(command as Peer) : command;
  const child = spawn(name, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: 'pipe',
    timeout: options.timeout ?? 300_000,
    killSignal: 'SIGKILL',
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
  // A program may end without reading its input; its exit code decides about success.
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input ?? '');
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((done, fail) => {
    child.once('error', fail);
    child.once('close', (...ended) => done(ended));
  });
  const bytes = Buffer.concat(out);
  const stdout = bytes.toString('utf8');
  const stderr = Buffer.concat(err).toString('utf8');
  if (code === null || !(options.codes ?? [0]).includes(code)) {
    const output = stderr.trim() === '' ? stdout.slice(-4000) : stderr.slice(-4000);
    throw new Error(`${[name, ...args].join(' ')}: ended with ${signal ?? code}\n${output}`);
  }
  return { code, stdout, stderr, bytes };
}
