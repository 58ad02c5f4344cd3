/** Formats a time as catalogs and receipts state it: RFC 3339, UTC, whole seconds. */
export function formatTime(time: Date): string {
  return time.toISOString().replace(/\.\d{3}Z$/, 'Z');
}

/** Reports whether a text is a time as `formatTime` writes it. */
export function isTime(text: unknown): text is string {
  if (typeof text !== 'string') return false;
  const time = new Date(text);
  return !Number.isNaN(time.getTime()) && formatTime(time) === text;
}
