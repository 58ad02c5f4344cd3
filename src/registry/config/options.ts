/** A user name and password given explicitly, not by an auth file. */
export interface ExplicitCredentials {
  readonly username: string;
  readonly password: string;
  /** Registry that the credentials are for, as references name it; default: every registry. */
  readonly registry?: string | undefined;
}

/** Proof of a user's identity: a password, or an OAuth2 refresh token ("identity token"). */
export type Credentials =
  | { readonly kind: 'password'; readonly username: string; readonly password: string }
  | { readonly kind: 'identity-token'; readonly token: string };

/** Certificates to trust and to present. All files are PEM. */
export interface TlsOptions {
  /** Certificate authorities to trust in addition to the system's. */
  readonly caFile?: string | undefined;
  /** Certificate authorities to trust instead of the system's. */
  readonly rootsFile?: string | undefined;
  /**
   * Directories that contain one directory `HOST[:PORT]` per host, such as docker's `/etc/docker/certs.d`; the first directory that has
   * an entry for a host is used.
   */
  readonly certsDirs?: readonly string[] | undefined;
  /** Directory with the certificates for every host. */
  readonly certDir?: string | undefined;
  /** Skip the verification of certificates. */
  readonly insecureSkipTlsVerify?: boolean | undefined;
}

/** Forward proxies, as `http://[user:password@]host[:port]`. */
export interface ProxyOptions {
  /** Proxy for plain HTTP. */
  readonly http?: string | undefined;
  /** Proxy for HTTPS, used with `CONNECT`. */
  readonly https?: string | undefined;
  /** Hosts to reach without a proxy, in the syntax of `NO_PROXY`. */
  readonly no?: string | undefined;
}

/** A mirror of a registry or of a part of one. */
export interface Mirror {
  /** `host[:port][/path]`; the path is put before the repository. */
  readonly location: string;
  readonly scheme?: 'http' | 'https' | undefined;
  /** Skip the verification of certificates, and use plain HTTP if the mirror does not support TLS. */
  readonly insecure?: boolean | undefined;
  /** Requests that the mirror may serve; default: `all`. */
  readonly serves?: 'all' | 'digests' | 'tags' | undefined;
  /** Regular expressions for the repository and their replacements; the first that matches is applied. */
  readonly rewrites?: readonly { readonly from: string; readonly to: string }[] | undefined;
  /** Path of the distribution API; default: `/v2`. */
  readonly apiPath?: string | undefined;
}

/** Settings for registries, or for a part of one: mirrors, another location, blocked access. */
export interface MirrorRule {
  /** `host[:port][/path]`, `*.domain` or `*`. The longest prefix that matches a name is used. */
  readonly prefix: string;
  /** Real location of the names below `prefix`; default: `prefix`. */
  readonly location?: string | undefined;
  readonly insecure?: boolean | undefined;
  /** Refuse access. */
  readonly blocked?: boolean | undefined;
  /** Mirrors, tried in this order before the registry itself. */
  readonly mirrors: readonly Mirror[];
  /** File or flag that the rule comes from, for messages. */
  readonly origin: string;
}

/** Settings for one host, by `host[:port]`. */
export interface HostSettings {
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  readonly insecureSkipTlsVerify?: boolean | undefined;
  readonly credentials?: ExplicitCredentials | undefined;
  readonly identityToken?: string | undefined;
}

/** Behaviour when the pull quota of a registry (Docker Hub, for example) runs out. */
export interface RateBudget {
  /** `wait` for more quota, or `stop` with `rate-limited` before a pull fails. */
  readonly whenSpent: 'wait' | 'stop';
  /** Pulls to keep in reserve; default: 0. */
  readonly keep?: number | undefined;
}

/**
 * How to reach registries. Plain data only, so that it can be passed to worker threads by structured clone. The CLI reads everything
 * that depends on the environment (paths of auth files, proxies) and passes it here.
 */
export interface RegistryOptions extends TlsOptions {
  /**
   * `true`: plain HTTP for every host; `false`: HTTPS for every host. Default: plain HTTP for loopback hosts (127.0.0.0/8, ::1,
   * localhost) that have no certificates in `certsDirs`, HTTPS for all others.
   */
  readonly plainHttp?: boolean | undefined;
  /** Auth files of docker, podman and skopeo, in order of precedence. Missing files are skipped. */
  readonly authFiles?: readonly string[] | undefined;
  /** A user name and password that take precedence over all auth files. */
  readonly credentials?: ExplicitCredentials | undefined;
  readonly proxy?: ProxyOptions | undefined;
  readonly mirrors?: readonly MirrorRule[] | undefined;
  /** Settings for single hosts, by `host[:port]`. */
  readonly hosts?: Readonly<Record<string, HostSettings>> | undefined;
  /** Number of retries after a network fault, a 429 or a 5xx; default: 5. */
  readonly retries?: number | undefined;
  /** Milliseconds of the first wait before a retry; each further wait doubles it; default: 500. */
  readonly retryDelay?: number | undefined;
  /** Longest wait that a registry may ask for (`Retry-After`), in milliseconds; default: 5 minutes. */
  readonly maxRetryAfter?: number | undefined;
  /**
   * Milliseconds for which requests are retried if a registry does not yet show content that it has accepted, or does not yet see the
   * parts of a manifest; default: 20,000.
   */
  readonly settleTime?: number | undefined;
  readonly rateBudget?: RateBudget | undefined;
  /** Milliseconds without a byte after which a connection counts as broken; default: 60,000. */
  readonly idleTimeout?: number | undefined;
  /** Limit of concurrent requests to one host; default: 32. */
  readonly requestsPerHost?: number | undefined;
  /** Bytes per chunk of a blob upload; default: the whole blob in one request, or 32 MiB if the registry rejects that. */
  readonly chunkSize?: number | undefined;
  /** Directory that records the addresses of unfinished uploads, so that another run can resume them; default: none. */
  readonly uploadsDirectory?: string | undefined;
}

/** One HTTP exchange, with secrets redacted. */
export interface RequestTrace {
  readonly method: string;
  readonly url: string;
  /** Registry that the exchange was made for, as references name it; `url` shows the mirror or storage host. */
  readonly registry: string;
  /** Undefined if no response arrived. */
  readonly status?: number | undefined;
  /** The error if no response arrived. */
  readonly error?: string | undefined;
  readonly requestHeaders: Readonly<Record<string, string>>;
  readonly responseHeaders: Readonly<Record<string, string>>;
  /** Time from sending the request to the end of the response headers. */
  readonly milliseconds: number;
}

/** Callbacks of a Registry. */
export interface RegistryHooks {
  /** Called for each HTTP exchange. */
  trace?(event: RequestTrace): void;
  /** Called with problems that do not stop the run. */
  warn?(text: string): void;
  /** Called with what a request waits for, after 5 seconds without a response. */
  silence?(text: string): void;
  /** Called with facts for a log: which mirror served a repository. Worker threads may repeat a fact. */
  note?(text: string): void;
}
