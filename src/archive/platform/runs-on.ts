/**
 * Which machines run which programs, beside those made for them: the 32-bit programs of the same family and byte order, which
 * Linux runs on the 64-bit machines of that family (`CONFIG_COMPAT`).
 */
const alsoRuns: Readonly<Record<string, readonly string[]>> = {
  amd64: ['386'],
  arm64: ['arm'],
  arm64be: ['armbe'],
  loong64: ['loong32'],
  mips64: ['mips'],
  mips64le: ['mipsle'],
  ppc64: ['ppc'],
  riscv64: ['riscv32'],
  s390x: ['s390'],
  sparc64: ['sparc'],
};

/** Whether a Linux machine of `architecture` runs programs made for `program`. Both are Go's names. */
export function runsOn(architecture: string, program: string): boolean {
  return architecture === program || (alsoRuns[architecture]?.includes(program) ?? false);
}

/**
 * Programs that run the programs of other machines. They are made for the machine that builds the image or starts it, and say
 * nothing of what the image runs on.
 */
const emulators = /(?:^|\/)(?:qemu-[^/]+|box(?:64|86)|FEX[A-Za-z]*|fex-emu|rosetta|exagear|hqemu-[^/]+)$/;

export function isEmulator(path: string): boolean {
  return emulators.test(path);
}
