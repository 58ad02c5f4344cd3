import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { copyImages } from '../src/copy.js';
import { exportBundle } from '../src/export/export.js';
import { inspectIndex } from '../src/image-index/inspect.js';
import { importImages, type ImportOptions } from '../src/import/import.js';
import { parseReference } from '../src/oci/reference.js';
import type { OnEvent } from '../src/progress.js';
import type { RegistryHooks, RegistryOptions } from '../src/registry/registry.js';
import { parseSite } from '../src/site/names.js';
import { verify } from '../src/verify.js';
import { airlift } from './support/airlift.js';
import { companionsOf, multiPlatform, singlePlatform, type NamedImage } from './support/image-sets.js';
import { indexOf } from './support/images.js';
import { isAirliftError } from '../src/errors.js';
import { pushImage } from './support/push-image.js';
import { askRegistry } from './support/registry-http.js';
import { serveStore } from './support/serve-store.js';
import { temp, type Cleanup } from './support/temp.js';
import { sameContent, walkImage, walkRegistry } from './support/walk.js';
import {
  artifactory,
  eventual,
  fault,
  ghcr,
  gitlab,
  harbor,
  htmlPage,
  htmlType,
  isOfTag,
  noReferrersApi,
  quay,
  stale,
  startQuirky,
  tokens,
  type Quirk,
  type QuirkAnswer,
  type QuirkyRegistry,
} from './registry/quirks.js';

const plain = singlePlatform('linux/amd64', { name: 'quirks' });
const signed: NamedImage = {
  repository: 'acme/app',
  tag: '1',
  image: multiPlatform({ name: 'signed quirks', platforms: ['linux/amd64', 'linux/arm64'] }),
};
const [sbom, signature] = companionsOf(signed);
const fast = ['--retry-delay', '5ms'];

/** The registry options of a run, and its warnings. */
interface Run {
  readonly registry: RegistryOptions;
  readonly hooks: RegistryHooks;
  readonly onEvent: OnEvent;
  readonly warnings: string[];
}

function newRun(): Run {
  const warnings: string[] = [];
  return {
    registry: { retryDelay: 2 },
    hooks: { warn: (text) => void warnings.push(text) },
    onEvent: (event) => event.event === 'warning' && warnings.push(event.message),
    warnings,
  };
}

async function exporting(names: readonly string[], output: string): Promise<string[]> {
  const run = newRun();
  const images = names.map((name) => ({ reference: parseReference(name) }));
  await exportBundle({ images, output, created: new Date(0), referrers: true, ...run });
  return run.warnings;
}

async function copying(name: string, to: string): Promise<string[]> {
  const run = newRun();
  await copyImages({ images: [{ reference: parseReference(name) }], to: parseSite(to), ...run });
  return run.warnings;
}

async function importing(
  bundle: string,
  to: string,
  more: Partial<ImportOptions> = {},
): Promise<{ warnings: string[]; unread: readonly string[] }> {
  const run = newRun();
  const { unread } = await importImages({ inputs: [bundle], to: parseSite(to), ...run, ...more });
  return { warnings: run.warnings, unread };
}

async function digestOf(host: string, repository: string, tag: string): Promise<string | undefined> {
  const path = `/v2/${repository}/manifests/${tag}`;
  const { status, headers } = await askRegistry(host, { method: 'HEAD', path });
  return status === 200 ? String(headers['docker-content-digest']) : undefined;
}

/** Lists referrers with the API. */
async function referrersAt(host: string, repository: string, digest: string): Promise<string[]> {
  const { body } = await askRegistry(host, { method: 'GET', path: `/v2/${repository}/referrers/${digest}` });
  return (JSON.parse(body.toString()) as { manifests: { digest: string }[] }).manifests.map(
    ({ digest }) => digest,
  );
}

async function isWhole(host: string, repository: string, tag: string, image = signed.image): Promise<void> {
  sameContent((await walkRegistry(host, repository, tag)).content, await walkImage(image));
}

describe('registries with quirks', () => {
  let unsignedBundle: string;
  let signedBundle: string;
  let twoBundle: string;
  const scratch: (() => Promise<void> | void)[] = [];
  const later: Cleanup = { after: (work) => void scratch.push(work) };

  before(async () => {
    const source = await serveStore(later);
    await pushImage(source, 'acme/app', '1', signed.image);
    for (const { repository, tag, image } of companionsOf(signed))
      await pushImage(source, repository, tag, image);
    await pushImage(source, 'acme/plain', '1', plain);
    await pushImage(source, 'acme/other', '1', plain);
    const dir = temp(later);
    const bundle = async (name: string, ...images: string[]): Promise<string> => {
      const output = join(dir, `${name}.tar`);
      assert.deepEqual(
        await exporting(
          images.map((image) => `${source}/acme/${image}`),
          output,
        ),
        [],
      );
      return output;
    };
    unsignedBundle = await bundle('unsigned', 'plain:1');
    signedBundle = await bundle('signed', 'app:1');
    twoBundle = await bundle('two', 'plain:1', 'other:1');
  });
  after(async () => {
    for (const work of scratch.toReversed()) await work();
  });

  /** A registry with quirks that has the image without signatures. */
  async function source(t: Cleanup, ...quirks: Quirk[]): Promise<QuirkyRegistry> {
    const registry = await startQuirky(t, ...quirks);
    await pushImage(registry.plain, 'acme/plain', '1', plain);
    return registry;
  }

  /** Exports and copies the image; returns the warnings. */
  async function read(t: Cleanup, registry: QuirkyRegistry): Promise<string[]> {
    const output = join(temp(t), 'out.tar');
    const name = `${registry.host}/acme/plain:1`;
    const exported = await exporting([name], output);
    assert.deepEqual((await verify(output)).problems, []);
    const target = await serveStore(t);
    const copied = await copying(name, target);
    await isWhole(target, 'acme/plain', '1', plain);
    return [...exported, ...copied];
  }

  test('GitLab, where the fallback tag of referrers resolves to the image itself: export, copy, import', async (t) => {
    const registry = await source(t, noReferrersApi, gitlab);
    assert.deepEqual(await read(t, registry), []);
    // The signatures arrive, and the fallback tag stays unchanged.
    const { warnings } = await importing(signedBundle, registry.host);
    assert.match(warnings.join('\n'), /^.*is not a list of referrers.*$/);
    await isWhole(registry.plain, 'acme/app', '1');
    assert.equal(
      await digestOf(registry.plain, 'acme/app', signature?.tag ?? ''),
      signature?.image.root.digest,
    );
    assert.equal(
      await digestOf(registry.plain, 'acme/app', sbom?.image.root.digest ?? ''),
      sbom?.image.root.digest,
    );
  });

  test('Artifactory, 403 without a challenge for a missing tag: export, import of a new tag', async (t) => {
    const registry = await source(t, artifactory(new Set(['1'])), noReferrersApi);
    assert.deepEqual(await read(t, registry), []);
    const fresh = await startQuirky(t, artifactory(new Set()), noReferrersApi);
    await importing(signedBundle, fresh.host);
    await isWhole(fresh.plain, 'acme/app', '1');
    assert.deepEqual(await referrersAt(fresh.plain, 'acme/app', signed.image.root.digest), [
      sbom?.image.root.digest,
    ]);
  });

  test('Quay, 401 for a missing repository: import creates it', async (t) => {
    const registry = await startQuirky(t, quay());
    await importing(signedBundle, registry.host);
    await isWhole(registry.plain, 'acme/app', '1');
  });

  for (const status of [422, 429, 503])
    test(`GHCR, where referrers are redirected to a web page with ${status}: export without retries`, async (t) => {
      const registry = await source(t, ghcr(status));
      assert.deepEqual(await read(t, registry), []);
      const requests = registry.seen.filter(({ url }) => url.startsWith('/-/v2/'));
      assert.equal(requests.length, 2, 'once for the export, once for the copy');
    });

  const no: Record<string, QuirkAnswer> = {
    'a login page': { status: 200, headers: htmlType, body: htmlPage },
    'a redirect to a login page': { status: 302, headers: { location: '/login' } },
    'a redirect to nowhere': { status: 302 },
    'a redirect that is not followed': { status: 302, headers: { location: 'ftp://127.0.0.1/' } },
    'JSON that is no index': { status: 200, headers: { 'content-type': 'application/json' }, body: '{}' },
    'JSON that is a list': { status: 200, headers: { 'content-type': 'application/json' }, body: '[]' },
    'another content': { status: 200, headers: { 'content-type': 'text/plain' }, body: 'ok' },
  };
  for (const status of [400, 401, 403, 404, 405, 406, 410, 412, 422, 451, 501, 505])
    no[String(status)] = fault(status, 'UNKNOWN');
  for (const [what, refusal] of Object.entries(no))
    test(`${what} in response to a guess means "does not exist": export, copy, import`, async (t) => {
      const put = new Set<string>();
      const quirk: Quirk = {
        hides: 'oci-subject',
        after: ({ method, name }) => method === 'PUT' && put.add(name),
        before: (call) => {
          if (call.url.pathname === '/login') return { status: 200, headers: htmlType, body: htmlPage };
          const isGuess = call.kind === 'referrers' || (isOfTag(call) && call.name.startsWith('sha256-'));
          return isGuess && !put.has(call.name) ? refusal : undefined;
        },
      };
      const registry = await source(t, quirk);
      assert.deepEqual(await read(t, registry), []);
      await importing(signedBundle, registry.host);
      await isWhole(registry.plain, 'acme/app', '1');
      assert.equal(
        await digestOf(registry.plain, 'acme/app', sbom?.image.root.digest ?? ''),
        sbom?.image.root.digest,
      );
    });

  for (const [what, refusal] of Object.entries(no))
    test(`${what} in response to a check before a push means "does not exist": import`, async (t) => {
      const put = new Set<string>();
      const key = (repository: string, name: string | null): string => `${repository} ${name}`;
      const registry = await startQuirky(t, {
        after: ({ method, kind, repository, name, url }, status) => {
          if (method === 'PUT')
            put.add(key(repository, kind === 'uploads' ? url.searchParams.get('digest') : name));
          else if (url.searchParams.has('mount') && status === 201)
            put.add(key(repository, url.searchParams.get('mount')));
        },
        before: ({ method, kind, repository, name, url }) => {
          if (url.pathname === '/login') return { status: 200, headers: htmlType, body: htmlPage };
          const isLook = (method === 'HEAD' || method === 'GET') && kind !== 'uploads' && kind !== '';
          return isLook && !put.has(key(repository, name)) ? refusal : undefined;
        },
      });
      await importing(twoBundle, registry.host);
      for (const name of ['acme/plain', 'acme/other']) await isWhole(registry.plain, name, '1', plain);
    });

  test('a host that fails for referrers and signatures: a warning, no signatures, and no repeated retries', async (t) => {
    for (const status of [429, 500, 503]) {
      const isGuess: Quirk['before'] = (call) =>
        call.kind === 'referrers' || (isOfTag(call) && call.name.startsWith('sha256-'))
          ? fault(status, 'UNKNOWN')
          : undefined;
      const registry = await source(t, { before: isGuess });
      const warnings = (await read(t, registry)).join('\n');
      assert.match(warnings, new RegExp(`left out the referrers of \\S+/acme/plain@sha256:.*\\(${status}`));
      assert.match(warnings, new RegExp(`left out signatures of \\S+/acme/plain under tags .*\\(${status}`));
      const requests = registry.seen.filter(
        ({ url }) => url.includes('referrers') || url.includes('sha256-'),
      );
      assert.ok(requests.length <= 2 * (6 + 4), `${requests.length} requests`);
    }
  });

  test('an image requested by name still fails: 401 and 403 with a login, 404 by name', async (t) => {
    const output = join(temp(t), 'out.tar');
    for (const [status, message] of [
      [401, /acme\/plain:1: unauthorized \(401[^\n]*\n {2}hint: airlift login/],
      [403, /acme\/plain:1: denied \(403[^\n]*\n {2}hint: .*airlift login/],
      [404, /acme\/plain:1: manifest not found \(404/],
    ] as const) {
      const registry = await source(t, {
        before: ({ kind }) => (kind === '' ? undefined : fault(status, 'UNKNOWN')),
      });
      const name = `${registry.host}/acme/plain:1`;
      const { stderr } = await airlift(['export', name, '-o', output, ...fast], { codes: [1] });
      assert.match(stderr, message);
      const refused = await airlift(['import', unsignedBundle, '--to', registry.host, ...fast], {
        codes: [1],
      });
      if (status !== 404) assert.match(refused.stderr, /hint: .*airlift login/);
    }
  });

  test('a tag that exists but is hidden (401, 403) is not overwritten unless requested', async (t) => {
    for (const status of [401, 403]) {
      const registry = await startQuirky(t, {
        before: ({ kind, method, name }) =>
          kind === 'manifests' && method !== 'PUT' && name === '1' ? fault(status, 'DENIED') : undefined,
      });
      const other = singlePlatform('linux/arm64', { name: 'there before' });
      await pushImage(registry.plain, 'acme/app', '1', other);
      for (const onExistingTag of ['error', 'skip', 'merge'] as const)
        await assert.rejects(importing(signedBundle, registry.host, { onExistingTag }), (error) =>
          isAirliftError(error, 'exists'),
        );
      assert.equal(await digestOf(registry.plain, 'acme/app', '1'), other.root.digest);
    }
  });

  test('a token service that rejects a scope for two repositories: the second image is uploaded', async (t) => {
    for (const status of [400, 401, 403, 404, 500]) {
      const auth = tokens({
        refuses: (scopes) =>
          new Set(scopes.map((scope) => scope.split(':')[1])).size > 1 ? status : undefined,
      });
      const registry = await startQuirky(t, auth);
      await importing(twoBundle, registry.host);
      for (const name of ['acme/plain', 'acme/other']) await isWhole(registry.plain, name, '1', plain);
      assert.ok(
        auth.requestedScopes.some((scopes) => scopes.length > 1),
        'a mount was tried',
      );
    }
  });

  test('a token for two repositories that is granted but not accepted for the mount: the second image is uploaded', async (t) => {
    const auth = tokens({ forbids: ({ url }) => url.searchParams.has('mount') });
    const registry = await startQuirky(t, auth);
    await importing(twoBundle, registry.host);
    for (const name of ['acme/plain', 'acme/other']) await isWhole(registry.plain, name, '1', plain);
    assert.ok(auth.requestedScopes.some((scopes) => scopes.length > 1));
  });

  test('mounts that are rejected or fail: the second image is uploaded', async (t) => {
    for (const status of [400, 401, 403, 404, 405, 409, 415, 429, 500, 503, 200, 302]) {
      const registry = await startQuirky(t, {
        before: ({ url }) => (url.searchParams.has('mount') ? fault(status, 'UNKNOWN') : undefined),
      });
      await importing(twoBundle, registry.host);
      for (const name of ['acme/plain', 'acme/other']) await isWhole(registry.plain, name, '1', plain);
      const tried = registry.seen.filter(({ url }) => url.includes('mount='));
      assert.ok(tried.length > 0, 'a mount was tried');
    }
  });

  test('Harbor, which withholds an image until it is scanned: pushed with one warning, also in a rerun', async (t) => {
    for (const status of [412, 403, 451]) {
      const registry = await startQuirky(t, harbor(status));
      for (const more of [{}, {}, { atomic: true }, { onExistingTag: 'merge' } as const]) {
        if (status === 403 && 'onExistingTag' in more) continue;
        const { warnings, unread } = await importing(twoBundle, registry.host, more);
        assert.deepEqual([...unread].sort(), [
          `${registry.host}/acme/other:1`,
          `${registry.host}/acme/plain:1`,
        ]);
        assert.equal(warnings.length, 1, warnings.join('\n'));
        assert.match(
          warnings[0] ?? '',
          new RegExp(`^pushed, but not read back.*\\(${status} PROJECTPOLICYVIOLATION\\)`),
        );
        await isWhole(registry.plain, 'acme/plain', '1', plain);
      }
    }
  });

  test('a withheld tag with an unknown digest is neither kept nor replaced silently', async (t) => {
    const registry = await startQuirky(t, harbor());
    await pushImage(registry.host, 'acme/plain', '1', singlePlatform('linux/arm64', { name: 'other' }));
    for (const onExistingTag of ['error', 'skip', 'merge'] as const)
      await assert.rejects(importing(unsignedBundle, registry.host, { onExistingTag }), {
        code: 'exists',
        message: /acme\/plain:1: the tag is taken.*\(412\)$/,
        hint: /^`onExistingTag: 'overwrite'`/,
      });
    await importing(unsignedBundle, registry.host, { onExistingTag: 'overwrite' });
    await isWhole(registry.plain, 'acme/plain', '1', plain);
  });

  test('a registry with immutable tags: an error that says how to keep them', async (t) => {
    const registry = await startQuirky(t, {
      before: ({ kind, method, name }) =>
        kind === 'manifests' && method === 'PUT' && name === '1' ? fault(412, 'PRECONDITION') : undefined,
    });
    await pushImage(registry.plain, 'acme/plain', '1', singlePlatform('linux/arm64', { name: 'other' }));
    await assert.rejects(importing(unsignedBundle, registry.host), {
      status: 412,
      hint: /`onExistingTag: 'skip'`/,
    });
    await importing(unsignedBundle, registry.host, { onExistingTag: 'skip' });
  });

  test('a registry that shows accepted content and children of an index with a delay', async (t) => {
    const registry = await startQuirky(t, eventual(3));
    for (const bundle of [signedBundle, twoBundle]) await importing(bundle, registry.host);
    await isWhole(registry.plain, 'acme/app', '1');
    for (const name of ['acme/plain', 'acme/other']) await isWhole(registry.plain, name, '1', plain);
    const target = await startQuirky(t, eventual(3));
    await copying(`${registry.plain}/acme/app:1`, target.host);
    await isWhole(target.plain, 'acme/app', '1');
  });

  test('a tag that resolves to its old digest for a moment', async (t) => {
    const registry = await startQuirky(t, stale(3));
    await pushImage(registry.host, 'acme/plain', '1', singlePlatform('linux/arm64', { name: 'other' }));
    await importing(unsignedBundle, registry.host);
    await isWhole(registry.plain, 'acme/plain', '1', plain);
  });

  test('a registry that loses accepted content: the import fails after a bounded time, sooner for the second blob', async (t) => {
    const registry = await startQuirky(t, {
      before: ({ kind, method }) =>
        kind === 'blobs' && (method === 'HEAD' || method === 'GET') ? fault(404, 'BLOB_UNKNOWN') : undefined,
    });
    const started = Date.now();
    await assert.rejects(
      importing(twoBundle, registry.host, { registry: { retryDelay: 2, settleTime: 2000 } }),
      /the registry accepted the blob and does not have it/,
    );
    assert.ok(Date.now() - started < 15_000);
  });

  test('children of an index that a registry hides are kept by a merge, and missing in inspect', async (t) => {
    const arm = singlePlatform('linux/arm64', { name: 'arm' });
    const registry = await startQuirky(t, {
      before: ({ method, name }) =>
        method === 'HEAD' && name === arm.root.digest ? fault(403, 'DENIED') : undefined,
    });
    await pushImage(registry.plain, 'acme/plain', '1', indexOf({ children: [arm] }));
    const reference = parseReference(`${registry.host}/acme/plain:1`);
    const { report } = await inspectIndex({ reference, registry: {} });
    assert.deepEqual(
      report.children.map(({ held }) => held),
      [false],
    );
    await importing(unsignedBundle, registry.host, { onExistingTag: 'merge' });
    const { content } = await walkRegistry(registry.plain, 'acme/plain', '1');
    for (const { root } of [arm, plain]) assert.ok(content.has(root.digest));
  });
});
