import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { request, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { digestOf, type Digest } from '../../src/oci/digest.js';
import { ociConfig, ociIndex, ociLayerGzip, ociManifest } from '../../src/oci/media-types.js';
import { createRegistryServer, type ServerOptions } from '../../src/registry-server/server.js';
import { DirectoryStore } from '../../src/registry-server/store.js';

/** A registry that runs for one test. */
export interface RunningRegistry {
  readonly url: string;
  readonly directory: string;
  /** Sends a request to a path below `/v2/`, or to a location that the registry gave. */
  ask(
    method: string,
    path: string,
    request?: { headers?: Record<string, string>; body?: Body },
  ): Promise<Response>;
}

type Body = string | Uint8Array | ReadableStream<Uint8Array>;

/** A new empty folder that goes with the test. */
export async function temporaryFolder(context: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'airlift-server-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Starts a registry on a new empty store. */
export async function startRegistry(
  context: TestContext,
  options: ServerOptions = {},
): Promise<RunningRegistry> {
  const directory = join(await temporaryFolder(context), 'store');
  const server = createRegistryServer(await DirectoryStore.open(directory), options);
  const { url } = await server.listen('127.0.0.1', 0);
  context.after(() => server.close());
  return { url, directory, ask: asker(url) };
}

/** Requests to a registry at `url`; redirects are not followed. */
export function asker(url: string): RunningRegistry['ask'] {
  return (method, path, { headers = {}, body } = {}) =>
    fetch(path.startsWith('/') ? `${url}${path}` : `${url}/v2/${path}`, {
      method,
      headers,
      redirect: 'manual',
      ...(body === undefined ? {} : { body, duplex: 'half' }),
    } as RequestInit);
}

/** Pushes a blob in one request. */
export async function pushBlob(
  registry: RunningRegistry,
  repository: string,
  bytes: Uint8Array,
): Promise<Digest> {
  const digest = digestOf(bytes);
  const response = await registry.ask('POST', `${repository}/blobs/uploads/?digest=${digest}`, {
    body: bytes,
  });
  await response.arrayBuffer();
  if (response.status !== 201) throw new Error(`push blob: ${response.status}`);
  return digest;
}

/** A manifest of one layer, with its digest. */
export interface BuiltManifest {
  readonly bytes: Buffer;
  readonly digest: Digest;
  readonly mediaType: string;
}

/** A manifest's or index's bytes. */
export function built(value: { mediaType: string; [field: string]: unknown }): BuiltManifest {
  const bytes = Buffer.from(JSON.stringify(value));
  return { bytes, digest: digestOf(bytes), mediaType: value.mediaType };
}

/** Pushes the blobs of a small image and gives its manifest, which is not pushed. */
export async function imageOf(
  registry: RunningRegistry,
  repository: string,
  text: string,
  more: object = {},
): Promise<BuiltManifest> {
  const config = Buffer.from(JSON.stringify({ os: 'linux', architecture: 'amd64', text }));
  const layer = Buffer.from(`layer of ${text}`);
  await pushBlob(registry, repository, config);
  await pushBlob(registry, repository, layer);
  return built({
    schemaVersion: 2,
    mediaType: ociManifest,
    config: { mediaType: ociConfig, digest: digestOf(config), size: config.length },
    layers: [{ mediaType: ociLayerGzip, digest: digestOf(layer), size: layer.length }],
    ...more,
  });
}

/** An index of `children`. */
export function indexOf(children: readonly BuiltManifest[], more: object = {}): BuiltManifest {
  const manifests = children.map(({ mediaType, digest, bytes }) => ({
    mediaType,
    digest,
    size: bytes.length,
  }));
  return built({ schemaVersion: 2, mediaType: ociIndex, manifests, ...more });
}

/** Puts a manifest under a tag or digest. */
export async function pushManifest(
  registry: RunningRegistry,
  repository: string,
  reference: string,
  manifest: BuiltManifest,
): Promise<Response> {
  const headers = { 'Content-Type': manifest.mediaType };
  return await registry.ask('PUT', `${repository}/manifests/${reference}`, { headers, body: manifest.bytes });
}

/** The first error code of a refusal, which must have the form of the distribution-spec. */
export async function errorCode(response: Response): Promise<string | undefined> {
  if (response.headers.get('content-type') !== 'application/json')
    throw new Error('a refusal that is not JSON');
  const body = (await response.json()) as { errors: { code: string; message: string }[] };
  return body.errors[0]?.code;
}

/** GETs a path exactly as written, which fetch would tidy up first. */
export async function getUntidied(url: string, path: string): Promise<{ status: number; body: string }> {
  const { hostname, port } = new URL(url);
  const sent = request({ hostname, port, path });
  sent.end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  let body = '';
  for await (const chunk of response) body += String(chunk);
  return { status: response.statusCode ?? 0, body };
}
