/** A user name and password, or an OAuth2 refresh token, given otherwise than by an auth file. */
export interface ExplicitCredentials {
  readonly username: string;
  readonly password: string;
  /** The registry, as references name it, that they are for; they are for every registry where none is named. */
  readonly registry?: string | undefined;
}

/** What proves a user's identity: a password, or an OAuth2 refresh token ("identity token"). */
export type Credentials =
  | { readonly kind: 'password'; readonly username: string; readonly password: string }
  | { readonly kind: 'identity-token'; readonly token: string };

/** Which certificates are trusted and shown. Files are PEM. */
export interface TlsOptions {
  /** Certificate authorities to trust besides the system's. */
  readonly caFile?: string | undefined;
  /** Certificate authorities to trust instead of the system's. */
  readonly rootsFile?: string | undefined;
  /** Directories with a directory `HOST[:PORT]` for each host, as docker's `/etc/docker/certs.d`; the first that has it counts. */
  readonly certsDirs?: readonly string[] | undefined;
  /** One such directory for every host. */
  readonly certDir?: string | undefined;
  /** Do not check certificates. */
  readonly insecureSkipTlsVerify?: boolean | undefined;
}

/** Forward proxies, as `http://[user:password@]host[:port]`. */
export interface ProxyOptions {
  /** For hosts in plain HTTP. */
  readonly http?: string | undefined;
  /** For hosts over TLS, by `CONNECT`. */
  readonly https?: string | undefined;
  /** Hosts that are reached without, in the form of `NO_PROXY`. */
  readonly no?: string | undefined;
}

/** Another place that may hold what a registry holds. */
export interface Mirror {
  /** `host[:port][/path]`; the path goes before the repository. */
  readonly location: string;
  readonly scheme?: 'http' | 'https' | undefined;
  /** Certificates are not checked, and plain HTTP is used where there is no TLS. */
  readonly insecure?: boolean | undefined;
  /** What it is asked for; default `all`. */
  readonly serves?: 'all' | 'digests' | 'tags' | undefined;
  /** Regular expressions and what they make of the repository; the first that matches counts. */
  readonly rewrites?: readonly { readonly from: string; readonly to: string }[] | undefined;
  /** Path of the distribution API; default `/v2`. */
  readonly apiPath?: string | undefined;
}

/** What is special about registries, or parts of one: mirrors, another address, no access. */
export interface MirrorRule {
  /** `host[:port][/path]`, `*.domain`, or `*`. The longest that fits a name counts. */
  readonly prefix: string;
  /** Where the names below `prefix` are really found; `prefix` itself by default. */
  readonly location?: string | undefined;
  readonly insecure?: boolean | undefined;
  /** Refuse to use it. */
  readonly blocked?: boolean | undefined;
  /** Tried in this order before the registry itself. */
  readonly mirrors: readonly Mirror[];
  /** The file or flag it comes from, for messages. */
  readonly origin: string;
}

/** What is special about one host, by `host[:port]`. */
export interface HostSettings {
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  readonly insecureSkipTlsVerify?: boolean | undefined;
  readonly credentials?: ExplicitCredentials | undefined;
  readonly identityToken?: string | undefined;
}

/** What to do when a registry that counts manifest downloads (Docker Hub) has none left. */
export interface RateBudget {
  /** `wait` for more, or `stop` with `rate-limited` before one fails. */
  readonly whenSpent: 'wait' | 'stop';
  /** Downloads to leave for others. Default 0. */
  readonly keep?: number | undefined;
}

/**
 * How registries are reached. Plain data only, so that it crosses into worker threads by structured clone. Everything that
 * comes from the environment (paths of auth files, proxies) is read by the CLI and given here.
 */
export interface RegistryOptions extends TlsOptions {
  /**
   * `true`: plain HTTP with every host; `false`: HTTPS with every host; left out: plain HTTP with loopback hosts
   * (127.0.0.0/8, ::1, localhost) that have no certificates in `certsDirs`, and HTTPS with all others.
   */
  readonly plainHttp?: boolean | undefined;
  /** Docker's and containers' auth files, in order of precedence. Those that do not exist are passed over. */
  readonly authFiles?: readonly string[] | undefined;
  /** A user name and password that go before all auth files. */
  readonly credentials?: ExplicitCredentials | undefined;
  readonly proxy?: ProxyOptions | undefined;
  readonly mirrors?: readonly MirrorRule[] | undefined;
  /** By `host[:port]`. */
  readonly hosts?: Readonly<Record<string, HostSettings>> | undefined;
  /** How often a request is tried again after a network fault, a 429 or a 5xx. Default 5. */
  readonly retries?: number | undefined;
  /** Milliseconds of the first wait before a request is tried again; it doubles from there. Default 500. */
  readonly retryDelay?: number | undefined;
  /** The most milliseconds to wait because a registry asks for it (`Retry-After`). Default 5 minutes. */
  readonly maxRetryAfter?: number | undefined;
  /**
   * Milliseconds for which something is looked for again that a registry accepted and does not show yet, or whose parts it does
   * not see yet. Default 20 000.
   */
  readonly settleTime?: number | undefined;
  readonly rateBudget?: RateBudget | undefined;
  /** Milliseconds without a byte after which a connection counts as broken. Default 60 000. */
  readonly idleTimeout?: number | undefined;
  /** The most requests to one host that wait for an answer at a time. Default 32. */
  readonly requestsPerHost?: number | undefined;
  /** Bytes of a chunk where blobs are uploaded in chunks; left out: in one piece, as long as the registry takes it. */
  readonly chunkSize?: number | undefined;
  /** Directory that keeps the addresses of uploads under way, for another run to go on with them; none unless told. */
  readonly uploadsDirectory?: string | undefined;
}

/** One HTTP exchange as it may be shown to people: secrets are redacted. */
export interface RequestTrace {
  readonly method: string;
  readonly url: string;
  /** The registry, as references name it, that the exchange was made for; its mirrors and storage hosts stand in `url`. */
  readonly registry: string;
  /** Missing where no answer came. */
  readonly status?: number | undefined;
  /** What went wrong where no answer came. */
  readonly error?: string | undefined;
  readonly requestHeaders: Readonly<Record<string, string>>;
  readonly responseHeaders: Readonly<Record<string, string>>;
  /** From sending the request to the end of the answer's headers. */
  readonly milliseconds: number;
}

/** What a caller may listen to. */
export interface RegistryHooks {
  /** Each HTTP exchange, with secrets redacted. */
  trace?(event: RequestTrace): void;
  /** What a person should know of, although it stops nothing. */
  warn?(text: string): void;
  /** What a request waits for, after 5 seconds of silence. */
  silence?(text: string): void;
  /** What belongs into a log: which mirror served what. Several parts of a run may say the same. */
  note?(text: string): void;
}
