/** How the nodes of a site reach its registry. */
export interface NodeAccess {
  /** The registry speaks plain HTTP. */
  readonly plainHttp?: boolean | undefined;
  /** Certificates are not verified. */
  readonly skipVerify?: boolean | undefined;
  /** Path, on the nodes, of the CA certificate that signed the registry's. */
  readonly caFile?: string | undefined;
  /** Let nodes ask the source registry for what the site lacks. Without it they never try to leave the site. */
  readonly fallback?: boolean | undefined;
}

/** A file for nodes, by its path below the folder that all of them are written to. */
export interface NodeFile {
  /** Relative, with `/`; only names that this module chose and registry hosts stand in it. */
  readonly path: string;
  readonly text: string;
}

/** A string in double quotes as JSON, YAML and TOML all read it. */
export function quote(text: string): string {
  return JSON.stringify(text);
}

/** The registry's address as a URL. */
export function siteUrl(registry: string, access: NodeAccess): string {
  return `${access.plainHttp === true ? 'http' : 'https'}://${registry}`;
}
