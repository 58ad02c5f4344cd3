/** Every command, in the order in which they are used. */
export const commandNames = [
  'export',
  'inspect',
  'verify',
  'import',
  'copy',
  'save',
  'serve',
  'index',
  'index create',
  'index append',
  'index remove',
  'index merge',
  'index inspect',
  'list-images',
  'login',
  'logout',
] as const;

/** How a command is typed, and what the list of commands says of it. */
export interface CommandHead {
  readonly usage: string;
  readonly describe: string;
}
