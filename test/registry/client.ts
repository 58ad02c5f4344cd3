import { Registry, type RegistryOptions, type RequestTrace } from '../../src/registry/registry.js';
import type { Cleanup } from '../support/temp.js';

/** A Registry with short waits that collects traces, warnings and notes, and is closed with the test. */
export interface TestClient {
  readonly registry: Registry;
  readonly traces: RequestTrace[];
  readonly warnings: string[];
  readonly notes: string[];
}

export function testClient(t: Cleanup, options: RegistryOptions = {}): TestClient {
  const traces: RequestTrace[] = [];
  const warnings: string[] = [];
  const notes: string[] = [];
  const registry = new Registry(
    { retries: 2, retryDelay: 1, ...options },
    {
      trace: (event) => void traces.push(event),
      warn: (text) => void warnings.push(text),
      note: (text) => void notes.push(text),
    },
  );
  t.after(() => registry.close());
  return { registry, traces, warnings, notes };
}
