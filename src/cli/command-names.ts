/** Every command, in the order of docs/commands.md. */
export const commandNames = [
  'export',
  'inspect',
  'verify',
  'repair',
  'stow',
  'keygen',
  'sign',
  'report',
  'split',
  'join',
  'merge',
  'import',
  'copy',
  'save',
  'load',
  'serve',
  'prune',
  'inventory',
  'diff',
  'index',
  'index create',
  'index append',
  'index remove',
  'index merge',
  'index inspect',
  'kit',
  'list-images',
  'login',
  'logout',
] as const;

/** Usage line and description of a command in the list of commands. */
export interface CommandHead {
  readonly usage: string;
  readonly describe: string;
}
