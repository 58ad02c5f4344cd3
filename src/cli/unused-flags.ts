import type { Options } from 'yargs';
import { AirliftError } from '../errors.js';

/** Finds the first of some flags that has another value than its default, as the user can type it. */
function givenFlag<Name extends string>(
  args: Readonly<Record<string, unknown>>,
  flags: Readonly<Record<Name, Options>>,
  names: readonly Name[],
): string | undefined {
  const name = names.find((one) => args[one] !== undefined && args[one] !== flags[one].default);
  if (name === undefined) return undefined;
  return args[name] === false ? `--no-${name}` : `--${name}`;
}

/**
 * Rejects flags that would have no effect, so that nobody believes they had one.
 * @param flags all flags of the command
 * @param unused those that have no effect now
 * @param when the command, with the flag or input that rules them out
 * @param problem why they have no effect, such as `applies only with --against`
 * @param hint default: omit the flag
 * @throws AirliftError `usage`
 */
export function rejectUnused<Name extends string>(
  args: Readonly<Record<string, unknown>>,
  flags: Readonly<Record<Name, Options>>,
  unused: readonly NoInfer<Name>[],
  { when, problem, hint }: { readonly when: string; readonly problem: string; readonly hint?: string },
): void {
  const flag = givenFlag(args, flags, unused);
  if (flag === undefined) return;
  throw new AirliftError('usage', `${when}: ${flag} ${problem}`, { hint: hint ?? `omit ${flag}` });
}

/** Returns the names of flags. */
export function namesOf<Name extends string>(flags: Readonly<Record<Name, Options>>): Name[] {
  return Object.keys(flags) as Name[];
}
