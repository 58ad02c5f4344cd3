import type { RequestEntry } from './call.js';

/** Upper bounds of the classes of request durations in seconds: from a cached manifest to a large layer over a slow link. */
const durations = [0.005, 0.025, 0.1, 0.5, 2.5, 10, 60, 300];

type CountedRequest = Pick<RequestEntry, 'method' | 'status' | 'bytes' | 'milliseconds'>;

/** What is counted at the moment that metrics are read. */
export interface Gauges {
  readonly requests: number;
  readonly connections: number;
}

/** Counts what a server does, and formats it for Prometheus (text format 0.0.4). */
export class Metrics {
  readonly #requests = new Map<string, number>();
  readonly #logins = new Map<string, number>();
  readonly #byDuration = durations.map(() => 0);
  #answered = 0;
  #seconds = 0;
  #sentBytes = 0;
  #errors = 0;

  countRequest({ method, status, bytes, milliseconds }: CountedRequest): void {
    count(this.#requests, `method="${method}",status="${status}"`);
    const seconds = milliseconds / 1000;
    this.#answered++;
    this.#seconds += seconds;
    this.#sentBytes += bytes;
    for (const [at, bound] of durations.entries())
      if (seconds <= bound) this.#byDuration[at] = (this.#byDuration[at] ?? 0) + 1;
  }

  countLogin(result: 'accepted' | 'refused' | 'busy'): void {
    count(this.#logins, `result="${result}"`);
  }

  countError(): void {
    this.#errors++;
  }

  format({ requests, connections }: Gauges): string {
    const { user, system } = process.cpuUsage();
    const lines = [
      ...family('airlift_http_requests_total', 'counter', 'Answered requests.', this.#requests),
      ...family('airlift_http_requests_active', 'gauge', 'Requests being answered.', requests),
      ...family('airlift_http_connections', 'gauge', 'Open connections.', connections),
      ...family('airlift_http_sent_bytes_total', 'counter', 'Bytes of sent bodies.', this.#sentBytes),
      ...family('airlift_logins_total', 'counter', 'Checked logins.', this.#logins),
      ...family('airlift_errors_total', 'counter', 'Answers that an error prevented.', this.#errors),
      ...this.#histogram(),
      ...family('process_cpu_seconds_total', 'counter', 'CPU time.', (user + system) / 1e6),
      ...family('process_resident_memory_bytes', 'gauge', 'Resident memory.', process.memoryUsage.rss()),
      ...family(
        'process_start_time_seconds',
        'gauge',
        'Start time since 1970.',
        Date.now() / 1000 - process.uptime(),
      ),
    ];
    return `${lines.join('\n')}\n`;
  }

  #histogram(): string[] {
    const name = 'airlift_http_request_duration_seconds';
    return [
      `# HELP ${name} Time from the head of a request to the end of its answer.`,
      `# TYPE ${name} histogram`,
      ...durations.map((bound, at) => `${name}_bucket{le="${bound}"} ${this.#byDuration[at]}`),
      `${name}_bucket{le="+Inf"} ${this.#answered}`,
      `${name}_sum ${this.#seconds}`,
      `${name}_count ${this.#answered}`,
    ];
  }
}

function count(counts: Map<string, number>, labels: string): void {
  counts.set(labels, (counts.get(labels) ?? 0) + 1);
}

/** Formats a metric: one value, or a value for each set of labels. */
function family(
  name: string,
  type: 'counter' | 'gauge',
  help: string,
  value: number | ReadonlyMap<string, number>,
): string[] {
  const values =
    typeof value === 'number'
      ? [`${name} ${value}`]
      : [...value].map(([labels, each]) => `${name}{${labels}} ${each}`);
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...values];
}
