const hidden = '***';

/** Query parameters whose values are not secret. All others (signatures, session state, tokens) are hidden. */
const openParameters: ReadonlySet<string> = new Set([
  'account',
  'artifactType',
  'client_id',
  'digest',
  'digest-algorithm',
  'from',
  'last',
  'mount',
  'n',
  'ns',
  'offline_token',
  'scope',
  'service',
]);

/** Formats an address without its user name, its password and the values of query parameters that may be secret. */
export function redactUrl(url: URL): string {
  const parts = [...url.searchParams].map(([name, value]) => {
    const shown = openParameters.has(name)
      ? encodeURIComponent(value).replace(/%(?:2F|3A|2C)/g, decodeURIComponent)
      : hidden;
    return `${encodeURIComponent(name)}=${shown}`;
  });
  return `${url.protocol}//${url.host}${url.pathname}${parts.length > 0 ? `?${parts.join('&')}` : ''}`;
}

/** Redacts an address given as text; an address that cannot be parsed is hidden completely. */
export function redactAddress(text: string, base: URL): string {
  try {
    return redactUrl(new URL(text, base));
  } catch {
    return hidden;
  }
}

const shownHeaders: ReadonlySet<string> = new Set([
  'accept',
  'accept-encoding',
  'content-encoding',
  'content-length',
  'content-range',
  'content-type',
  'date',
  'docker-content-digest',
  'docker-distribution-api-version',
  'docker-ratelimit-source',
  'oci-chunk-min-length',
  'oci-filters-applied',
  'oci-subject',
  'oci-tag',
  'range',
  'ratelimit-limit',
  'ratelimit-remaining',
  'retry-after',
  'server',
  'user-agent',
  'via',
  'warning',
  'www-authenticate',
]);

/** Returns the headers that help to understand an exchange, with secrets hidden. */
export function redactHeaders(
  headers: Readonly<Record<string, string | readonly string[] | undefined>>,
  url: URL,
): Record<string, string> {
  const shown: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined) continue;
    const text = typeof value === 'string' ? value : value.join(', ');
    if (name === 'authorization' || name === 'proxy-authorization') {
      shown[name] = `${/^\w+/.exec(text)?.[0] ?? ''} ${hidden}`.trimStart();
    } else if (name === 'location') {
      shown[name] = redactAddress(text, url);
    } else if (name === 'link') {
      shown[name] = text.replace(
        /<([^>]*)>/g,
        (_whole, address: string) => `<${redactAddress(address, url)}>`,
      );
    } else if (shownHeaders.has(name)) {
      shown[name] = text.slice(0, 1000);
    }
  }
  return shown;
}

/** The most forms of tokens to remember: more than are valid at the same time. */
const maxTokens = 2048;

/** Returns the forms in which a secret may appear: plain, in a URL, in JSON. */
function formsOf(secret: string): Set<string> {
  return new Set([secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1)]);
}

/** The secrets of a run. They are hidden in messages because a registry may repeat one in a response. */
export class Secrets {
  readonly #texts = new Set<string>();
  /** Tokens, oldest first. A long run gets many; expired ones are no longer secret and are dropped. */
  readonly #tokens = new Set<string>();

  /** Adds a password or another secret that stays valid during the run. */
  add(secret: string): void {
    if (secret.length < 4) return;
    for (const form of formsOf(secret)) this.#texts.add(form);
  }

  /** Adds a token; only the latest tokens are kept. */
  addToken(token: string): void {
    if (token.length < 4) return;
    for (const form of formsOf(token)) {
      this.#tokens.delete(form);
      this.#tokens.add(form);
    }
    for (const oldest of this.#tokens) {
      if (this.#tokens.size <= maxTokens) break;
      this.#tokens.delete(oldest);
    }
  }

  /** Number of texts that are hidden. */
  get size(): number {
    return this.#texts.size + this.#tokens.size;
  }

  /** Replaces every secret in `text`. */
  scrub(text: string): string {
    let clean = text;
    for (const secrets of [this.#texts, this.#tokens])
      for (const secret of secrets) if (clean.includes(secret)) clean = clean.replaceAll(secret, hidden);
    return clean;
  }
}
