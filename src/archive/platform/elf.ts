/**
 * The machine that an ELF program needs, from its header (System V ABI, chapter 4, "ELF Header"). No library: two
 * fields of the first 64 bytes, read while a layer streams by, are enough.
 */
export interface ElfHeader {
  /** The OCI architecture; undefined where OCI has no name for it. */
  readonly architecture: string | undefined;
  readonly isBigEndian: boolean;
  readonly is64Bit: boolean;
  /** Offset, size and number of the section headers, and the index of the one with the names. */
  readonly sections: {
    readonly offset: number;
    readonly size: number;
    readonly count: number;
    readonly names: number;
  };
}

/** The most bytes of a header. */
export const elfHeaderLength = 64;

const executable = 2;
const shared = 3;

/** The bit of `e_flags` that marks n32 on MIPS: 32-bit programs that need a 64-bit machine. */
const mipsN32 = 0x20;

/** Returns Go's name for an ELF machine, or the usual name of 32-bit machines that Go has no name for. */
function architectureOf(
  machine: number,
  is64Bit: boolean,
  isBigEndian: boolean,
  flags: number,
): string | undefined {
  switch (machine) {
    case 2:
    case 18:
      return 'sparc';
    case 3:
      return '386';
    case 8:
      return `mips${is64Bit || (flags & mipsN32) !== 0 ? '64' : ''}${isBigEndian ? '' : 'le'}`;
    case 20:
      return isBigEndian ? 'ppc' : undefined;
    case 21:
      return isBigEndian ? 'ppc64' : 'ppc64le';
    case 22:
      return is64Bit ? 's390x' : 's390';
    case 40:
      return isBigEndian ? 'armbe' : 'arm';
    case 43:
      return 'sparc64';
    case 62:
      return 'amd64';
    case 183:
      return isBigEndian ? 'arm64be' : 'arm64';
    case 243:
      return is64Bit ? 'riscv64' : 'riscv32';
    case 258:
      return is64Bit ? 'loong64' : 'loong32';
    default:
      return undefined;
  }
}

/** Parses the header of a program or shared library; undefined for anything else, such as object files. */
export function parseElfHeader(bytes: Buffer): ElfHeader | undefined {
  if (bytes.byteLength < 52 || bytes.readUInt32BE(0) !== 0x7f454c46) return undefined;
  const is64Bit = bytes[4] === 2;
  const isBigEndian = bytes[5] === 2;
  if (is64Bit && bytes.byteLength < elfHeaderLength) return undefined;
  const half = (at: number): number => (isBigEndian ? bytes.readUInt16BE(at) : bytes.readUInt16LE(at));
  const word = (at: number): number => (isBigEndian ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at));
  const long = (at: number): number =>
    Number(isBigEndian ? bytes.readBigUInt64BE(at) : bytes.readBigUInt64LE(at));
  const type = half(16);
  if (type !== executable && type !== shared) return undefined;
  const after = is64Bit ? 58 : 46;
  return {
    architecture: architectureOf(half(18), is64Bit, isBigEndian, word(is64Bit ? 48 : 36)),
    isBigEndian,
    is64Bit,
    sections: {
      offset: is64Bit ? long(40) : word(32),
      size: half(after),
      count: half(after + 2),
      names: half(after + 4),
    },
  };
}

/** Reads bytes of the program at a position. */
export type ReadAt = (position: number, length: number) => Promise<Buffer>;

const maxSections = 200;
const maxAttributes = 4096;

/** Returns the oldest variant that runs code with this tag (ABI for the Arm Architecture, "Addenda", Tag_CPU_arch). */
function variantOfTag(tag: number): string | undefined {
  if (tag <= 5) return 'v5';
  if (tag <= 9) return 'v6';
  return tag === 10 ? 'v7' : tag === 14 ? 'v8' : undefined;
}

/** Decodes a ULEB128 number, and returns its end too. */
function uleb(bytes: Buffer, start: number): [value: number, end: number] {
  let value = 0;
  let at = start;
  for (let shift = 0; at < bytes.byteLength && shift < 28; shift += 7) {
    const byte = bytes[at++] as number;
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) break;
  }
  return [value, at];
}

/** Finds Tag_CPU_arch among the attributes of the whole file. */
function cpuArch(attributes: Buffer): number | undefined {
  // Before the attributes: format version, length, "aeabi", the tag for the whole file, its length.
  if (attributes.toString('latin1', 0, 1) !== 'A' || attributes.toString('latin1', 5, 11) !== 'aeabi\0')
    return undefined;
  for (let at = 16; at < attributes.byteLength;) {
    const [tag, afterTag] = uleb(attributes, at);
    const isText = tag === 4 || tag === 5 || (tag > 32 && tag % 2 === 1);
    const [value, afterValue] = isText ? [0, afterTag] : uleb(attributes, afterTag);
    if (tag === 6) return value;
    if (isText || tag === 32) {
      const end = attributes.indexOf(0, afterValue);
      if (end < 0) return undefined;
      at = end + 1;
    } else {
      at = afterValue;
    }
  }
  return undefined;
}

/**
 * Returns the variant of 32-bit arm that a program needs, as recorded by its compiler (section `.ARM.attributes`); undefined where it is
 * not recorded: Go's compiler does not.
 */
export async function armVariant(header: ElfHeader, read: ReadAt): Promise<string | undefined> {
  const { offset, size, count } = header.sections;
  if (header.architecture !== 'arm' || header.isBigEndian || size < 40 || count > maxSections)
    return undefined;
  const table = await read(offset, size * count);
  for (let at = 0; at + 40 <= table.byteLength; at += size) {
    const type = table.readUInt32LE(at + 4);
    if (type !== 0x70000003) continue;
    const length = Math.min(table.readUInt32LE(at + 20), maxAttributes);
    const tag = cpuArch(await read(table.readUInt32LE(at + 16), length));
    return tag === undefined ? undefined : variantOfTag(tag);
  }
  return undefined;
}

/**
 * Architectures and the foreign programs they run: 64-bit Linux runs the 32-bit programs of the same family and byte order
 * (`CONFIG_COMPAT`).
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

/** Reports whether a Linux machine of `architecture` runs programs built for `program`. Both are Go's names. */
export function runsOn(architecture: string, program: string): boolean {
  return architecture === program || (alsoRuns[architecture]?.includes(program) ?? false);
}

/**
 * Emulators. They are built for the machine that builds or starts the image, so they do not show the image's platform.
 */
const emulators = /(?:^|\/)(?:qemu-[^/]+|box(?:64|86)|FEX[A-Za-z]*|fex-emu|rosetta|exagear|hqemu-[^/]+)$/;

export function isEmulator(path: string): boolean {
  return emulators.test(path);
}
