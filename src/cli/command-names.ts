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
