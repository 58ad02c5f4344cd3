/** What an executable of the kit contains besides Node.js. */
export interface Application {
  /** The main script, in CommonJS. */
  readonly main: Buffer;
  /** Scripts of worker threads by name, which the main script reads with `getAsset` of `node:sea`. */
  readonly assets: ReadonlyMap<string, Buffer>;
  /** Options of Node.js. */
  readonly execArgv: readonly string[];
}

const magic = 0x0143da20;
// Bits of `SeaFlags` (src/node_sea.h of Node.js).
const disableExperimentalWarning = 1;
const includeAssets = 8;
const includeExecArgv = 16;
/** `SeaExecArgvExtension::kNone`: neither NODE_OPTIONS nor flags on the command line change the options of Node.js. */
const extendsNothing = 0;

function length(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function counted(content: Buffer | string): Buffer[] {
  const bytes = Buffer.from(content);
  return [length(bytes.byteLength), bytes];
}

/**
 * Serializes an application as `node --experimental-sea-config` of Node.js 24.21 does (`SeaSerializer` in src/node_sea.cc), so that any
 * version of Node.js on any system can build a kit. The format is the same for all platforms.
 */
export function serializeApplication({ main, assets, execArgv }: Application): Buffer {
  const head = Buffer.alloc(9);
  head.writeUInt32LE(magic, 0);
  head.writeUInt32LE(disableExperimentalWarning | includeAssets | includeExecArgv, 4);
  head.writeUInt8(extendsNothing, 8);
  return Buffer.concat([
    head,
    ...counted('main.js'),
    ...counted(main),
    length(assets.size),
    ...[...assets].flatMap(([name, content]) => [...counted(name), ...counted(content)]),
    length(execArgv.length),
    ...execArgv.flatMap((option) => counted(option)),
  ]);
}
