import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { arch } from 'node:os';
import { join } from 'node:path';
import { AirliftError, isMissingPath, messageOf } from '../errors.js';
import { normalisePlatform, type Platform } from '../oci/platform.js';
import { Containerd } from './containerd.js';
import { distributionOf } from './distributions.js';
import { Docker } from './docker.js';
import type { Engine, EngineName, EngineOptions } from './engine.js';
import { Podman } from './podman.js';
import { permissionHint, Program, startHint } from './program.js';

const containerdSocket = '/run/containerd/containerd.sock';
const kubernetesNamespace = 'k8s.io';

const starts: Readonly<Partial<Record<EngineName, string>>> = {
  containerd: 'systemctl start containerd',
  docker: 'systemctl start docker',
  podman: 'systemctl start podman.socket',
  microk8s: 'microk8s start',
  kind: 'systemctl start docker',
};

/** Node's names of architectures that `normalisePlatform` does not know. */
const nodeArchitectures: Readonly<Record<string, string>> = {
  ia32: '386',
  ppc64: 'ppc64le',
  mipsel: 'mipsle',
};

/** Returns the platform of Linux containers on this machine. */
export function machinePlatform(): Platform {
  const name = arch();
  return normalisePlatform({ os: 'linux', architecture: nodeArchitectures[name] ?? name });
}

/** Reports whether a path exists. */
export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error) => !isMissingPath(error),
  );
}

/**
 * Checks the socket before a program tries to reach it: `ctr` waits ten seconds for a missing one.
 * @throws AirliftError `engine`
 */
async function checkSocket(label: string, path: string, start: string): Promise<void> {
  try {
    await access(path, constants.R_OK | constants.W_OK);
  } catch (error) {
    const isMissing = isMissingPath(error);
    throw new AirliftError(
      'engine',
      `load into ${label}: ${isMissing ? `no socket at ${path}` : `open ${path}: ${messageOf(error)}`}`,
      {
        hint: isMissing ? startHint(start) : permissionHint,
        cause: error,
      },
    );
  }
}

/** Returns an address as a URL, as docker and podman want it. */
function urlOf(address: string): string {
  return address.startsWith('/') ? `unix://${address}` : address;
}

function pathOf(address: string): string {
  return address.replace(/^unix:\/\//, '');
}

/** Returns the command that starts an engine. */
function startOf(engine: EngineName): string {
  return distributionOf(engine)?.start ?? starts[engine] ?? '';
}

function programFor(options: EngineOptions, command: readonly [string, ...string[]]): Program {
  const { engine, signal } = options;
  return new Program({ label: engine, command, start: startOf(engine), signal });
}

function containerd(options: EngineOptions, ctr: Program, label: string, platform: Platform): Containerd {
  const { snapshotter, pin = true } = options;
  return new Containerd(ctr, { label, platform, snapshotter, pin });
}

/** Returns the global flags of `ctr`; wrappers such as `k3s ctr` have defaults of their own. */
function globalFlags(address: string | undefined, namespace: string | undefined): string[] {
  return [
    ...(address === undefined ? [] : ['--address', pathOf(address)]),
    // The same form as in the wrapper of microk8s: ctr refuses two forms of one flag.
    ...(namespace === undefined ? [] : ['--namespace', namespace]),
  ];
}

async function openContainerd(options: EngineOptions): Promise<Engine> {
  const { engine, address, namespace, dataDir } = options;
  const distribution = distributionOf(engine);
  const open = (command: readonly [string, ...string[]], flags: readonly string[]): Engine =>
    containerd(options, programFor(options, command).with(...flags), engine, machinePlatform());
  if (engine === 'microk8s') return open(['microk8s', 'ctr'], globalFlags(address, namespace));
  const socket = pathOf(address ?? distribution?.socket ?? containerdSocket);
  await checkSocket(engine, socket, startOf(engine));
  if (engine === 'k3s' || engine === 'k0s') return open([engine, 'ctr'], globalFlags(address, namespace));
  // RKE2 installs ctr outside PATH, and without defaults.
  const ctr = distribution === undefined ? 'ctr' : join(dataDir ?? distribution.dataDir, 'bin', 'ctr');
  return open([ctr], globalFlags(socket, namespace ?? kubernetesNamespace));
}

/** Returns containerd on each node of a kind cluster. */
async function openKind(options: EngineOptions, docker: Program): Promise<Engine[]> {
  const { cluster = 'kind', namespace = kubernetesNamespace } = options;
  const format = '{{.Names}} {{.Label "io.x-k8s.kind.role"}}';
  const filter = `label=io.x-k8s.kind.cluster=${cluster}`;
  const answer = await docker.ask(['ps', '--filter', filter, '--format', format]);
  const rows = answer.split('\n').map((line) => line.trim().split(' '));
  // The third role is a load balancer, which has no containerd.
  const nodes = rows.flatMap(([name = '', role]) =>
    role === 'control-plane' || role === 'worker' ? [name] : [],
  );
  if (nodes.length === 0) {
    throw new AirliftError('engine', `load into kind: no running node of cluster ${cluster}`, {
      hint: 'list the clusters: kind get clusters; then name one with `cluster`',
    });
  }
  const { platform } = await Docker.open(docker);
  return nodes.sort().map((node) => {
    const ctr = docker.with('exec', '--interactive', node, 'ctr', ...globalFlags(undefined, namespace));
    return containerd(options, ctr, `kind node ${node}`, platform);
  });
}

/**
 * Opens the engine, or for kind the one of each node.
 * @throws AirliftError `engine` if a program or a socket is missing, or the engine refuses access
 */
export async function openEngines(options: EngineOptions): Promise<Engine[]> {
  const { engine, address } = options;
  if (engine === 'podman') {
    const flags = address === undefined ? [] : ['--url', urlOf(address)];
    return [await Podman.open(programFor(options, ['podman', ...flags]))];
  }
  if (engine !== 'docker' && engine !== 'kind') return [await openContainerd(options)];
  const docker = programFor(options, [
    'docker',
    ...(address === undefined ? [] : ['--host', urlOf(address)]),
  ]);
  return engine === 'docker' ? [await Docker.open(docker)] : openKind(options, docker);
}
