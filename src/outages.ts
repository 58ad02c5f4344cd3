import { isAirliftError } from './errors.js';

/** Whether a registry may do later what it failed to do now. */
export function isOutage(error: unknown): boolean {
  return (
    isAirliftError(error, 'network', 'rate-limited') ||
    (isAirliftError(error, 'registry') && (error.status ?? 0) >= 500)
  );
}
