/** How a bundle is begun or taken up. */
export interface BundleOptions {
  /** The modification time of every entry, and `created` in the catalog; whole seconds count. */
  readonly created: Date;
  /** Says what was asked for: the same command gives the same text, whenever it is run. */
  readonly fingerprint: string;
  /** Take the place of a file that has the final name already, once the new one is whole. */
  readonly replace?: boolean | undefined;
  /**
   * Plan anew even where an interrupted run has a plan; what that one fetched and the new plan wants is kept. Undefined where
   * nobody can ask for that.
   */
  readonly refresh?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}
