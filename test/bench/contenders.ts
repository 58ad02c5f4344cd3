import { join } from 'node:path';
import { airliftPath } from '../support/airlift.js';
import { peer, run } from '../support/peers.js';

/** A program that can carry the corpus, with the commands that a user would run. They write below `out`. */
export interface Contender {
  /** Name and version. */
  readonly title: string;
  /** Description of the export and the import. */
  readonly does: string;
  export(host: string, images: readonly string[], out: string): readonly string[];
  import(out: string, images: readonly string[], host: string): readonly string[];
}

const quote = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;

/** Returns a shell command that runs commands one after the other, until one fails. */
function script(...commands: readonly (readonly string[])[]): readonly string[] {
  return ['sh', '-ec', commands.map((words) => words.map(quote).join(' ')).join('\n')];
}

const nameOf = (image: string): string => image.replaceAll(/[/:]/g, '-');

async function airlift(program: string): Promise<Contender> {
  const command = [process.execPath, program];
  const { stdout } = await run(process.execPath, [program, '--version']);
  return {
    title: `airlift ${stdout.trim()}`,
    does: '`airlift export` of all images, `airlift import` of the bundle',
    export: (host, images, out) => [
      ...[...command, 'export', ...images.map((image) => `${host}/${image}`)],
      ...['-o', join(out, 'bundle.tar')],
    ],
    import: (out, _images, host) => [...command, 'import', join(out, 'bundle.tar'), '--to', host],
  };
}

async function skopeo(program: string): Promise<Contender> {
  const { stdout } = await run(program, ['--version']);
  const copy = [program, 'copy', '--quiet', '--all'];
  return {
    title: `skopeo ${/[\d.]+/.exec(stdout)?.[0] ?? ''}`,
    does: '`skopeo copy --all` of each image into one OCI layout, then `tar`; `skopeo copy --all` of each image from that layout',
    export: (host, images, out) =>
      script(
        ...images.map((image) => [
          ...[...copy, '--src-tls-verify=false', `docker://${host}/${image}`],
          `oci:${join(out, 'layout')}:${nameOf(image)}`,
        ]),
        ['tar', '-cf', join(out, 'layout.tar'), '-C', join(out, 'layout'), '.'],
      ),
    import: (out, images, host) =>
      script(
        ...images.map((image) => [
          ...[...copy, '--dest-tls-verify=false', `oci:${join(out, 'layout')}:${nameOf(image)}`],
          `docker://${host}/${image}`,
        ]),
      ),
  };
}

async function crane(program: string): Promise<Contender> {
  const { stdout } = await run(program, ['version']);
  return {
    title: `crane ${/\d[\d.]+/.exec(stdout)?.[0] ?? ''}`.trim(),
    does: '`crane pull --format=oci` of each image into a layout of its own, then `tar`; `crane push` of each layout',
    export: (host, images, out) =>
      script(
        ...images.map((image) => [
          ...[program, 'pull', '--insecure', '--format=oci', `${host}/${image}`],
          join(out, 'layouts', nameOf(image)),
        ]),
        ['tar', '-cf', join(out, 'layouts.tar'), '-C', join(out, 'layouts'), '.'],
      ),
    import: (out, images, host) =>
      script(
        ...images.map((image) => [
          ...[program, 'push', '--insecure', join(out, 'layouts', nameOf(image)), `${host}/${image}`],
        ]),
      ),
  };
}

/**
 * Returns airlift and the available programs to compare it with: the installed skopeo, and programs named by
 * `AIRLIFT_BENCH_SKOPEO` (another version) and `AIRLIFT_BENCH_CRANE`.
 * @param only names of contenders (default: all)
 */
export async function findContenders(only: readonly string[] | undefined): Promise<Contender[]> {
  const candidates: [
    name: string,
    program: string | undefined,
    make: (path: string) => Promise<Contender>,
  ][] = [
    ['airlift', airliftPath, airlift],
    ['skopeo', peer('skopeo'), skopeo],
    ['skopeo', process.env['AIRLIFT_BENCH_SKOPEO'], skopeo],
    ['crane', process.env['AIRLIFT_BENCH_CRANE'], crane],
  ];
  const found: Contender[] = [];
  for (const [name, program, make] of candidates) {
    if (program !== undefined && program !== '' && (only?.includes(name) ?? true))
      found.push(await make(program));
  }
  return found;
}
