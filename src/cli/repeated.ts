import type { Argv } from 'yargs';

/** What yargs knows of flags, as far as it is looked at here; its types leave it out. */
interface KnowsArrays {
  getOptions(): { readonly array: readonly string[] };
}

function kebab(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** Of a flag that takes one value and was given more than once the last value counts, as with docker and skopeo. */
export function lastOfRepeated(parser: Argv): Argv {
  return parser.middleware((args: Record<string, unknown>) => {
    const lists = new Set((parser as unknown as KnowsArrays).getOptions().array.map(kebab));
    for (const [name, value] of Object.entries(args))
      if (Array.isArray(value) && name !== '_' && name !== '--' && !lists.has(kebab(name)))
        args[name] = value.at(-1);
  }, true);
}
