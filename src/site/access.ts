/** How nodes reach the site's registry. */
export interface NodeAccess {
  /** Use plain HTTP. */
  readonly plainHttp?: boolean | undefined;
  /** Do not verify certificates. */
  readonly skipVerify?: boolean | undefined;
  /** Path on the nodes of the CA certificate for the registry. */
  readonly caFile?: string | undefined;
  /** Let nodes request images from the source registry if the site lacks them (default: false). */
  readonly fallback?: boolean | undefined;
}

/** A file for nodes. */
export interface NodeFile {
  /** Path relative to the output directory, with `/`. Contains only fixed names and registry hosts. */
  readonly path: string;
  readonly text: string;
}

/** Quotes a string so that JSON, YAML and TOML read it the same way. */
export function quote(text: string): string {
  return JSON.stringify(text);
}

/** Returns the URL of the registry. */
export function siteUrl(registry: string, access: NodeAccess): string {
  return `${access.plainHttp === true ? 'http' : 'https'}://${registry}`;
}
