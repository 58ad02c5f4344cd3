/** Fields of the ELF header that identify the machine, by platform. */
const machines: Readonly<Record<string, { machine: number; bits: 32 | 64; big?: boolean; flags?: number }>> =
  {
    'linux/amd64': { machine: 62, bits: 64 },
    'linux/arm64': { machine: 183, bits: 64 },
    'linux/arm/v7': { machine: 40, bits: 32, flags: 0x05000400 },
    'linux/arm/v6': { machine: 40, bits: 32, flags: 0x05000400 },
    'linux/arm/v5': { machine: 40, bits: 32, flags: 0x05000200 },
    'linux/386': { machine: 3, bits: 32 },
    'linux/ppc64le': { machine: 21, bits: 64, flags: 2 },
    'linux/s390x': { machine: 22, bits: 64, big: true },
    'linux/riscv64': { machine: 243, bits: 64, flags: 5 },
    'linux/riscv32': { machine: 243, bits: 32, flags: 5 },
    'linux/arm64be': { machine: 183, bits: 64, big: true },
    'linux/armbe': { machine: 40, bits: 32, big: true },
    'linux/loong64': { machine: 258, bits: 64 },
    'linux/loong32': { machine: 258, bits: 32 },
    'linux/mips': { machine: 8, bits: 32, big: true },
    'linux/mipsle': { machine: 8, bits: 32 },
    'linux/mips64': { machine: 8, bits: 64, big: true },
    'linux/mips64le': { machine: 8, bits: 64 },
    'linux/ppc': { machine: 20, bits: 32, big: true },
    'linux/ppc64': { machine: 21, bits: 64, big: true },
    'linux/s390': { machine: 22, bits: 32, big: true },
    'linux/sparc': { machine: 2, bits: 32, big: true },
    'linux/sparc64': { machine: 43, bits: 64, big: true },
  };

/**
 * Returns a file with the ELF header of a program for `platform` (`linux/arm/v7`), followed by `text`. It cannot run: it is for
 * readers of the header. As in real programs, arm/v6 and arm/v7 have the same header.
 */
export function elfFile(platform: string, text = ''): Buffer {
  const found = machines[platform];
  if (found === undefined) throw new Error(`no ELF header known for ${platform}`);
  const is64Bit = found.bits === 64;
  const size = is64Bit ? 64 : 52;
  const header = Buffer.alloc(size);
  header.write('\x7fELF', 0, 'latin1');
  header.set([is64Bit ? 2 : 1, found.big === true ? 2 : 1, 1], 4);
  const put16 = (value: number, at: number): number =>
    found.big === true ? header.writeUInt16BE(value, at) : header.writeUInt16LE(value, at);
  const put32 = (value: number, at: number): number =>
    found.big === true ? header.writeUInt32BE(value, at) : header.writeUInt32LE(value, at);
  put16(2, 16);
  put16(found.machine, 18);
  put32(1, 20);
  put32(found.flags ?? 0, is64Bit ? 48 : 36);
  put16(size, is64Bit ? 52 : 40);
  return Buffer.concat([header, Buffer.from(text)]);
}
