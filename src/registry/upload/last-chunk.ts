/** What is left of a body that is sent to its end although the run is being stopped. */
const finishable = 32 * 1024 * 1024;

/** Milliseconds that it may take: whoever presses Ctrl-C waits for it. */
const patience = 700;

/** A signal for one request with content: an interruption breaks it off only where much is left to send, or it takes long. */
export interface LastChunk {
  readonly signal: AbortSignal | undefined;
  /** Stops listening. To be called when the request has ended. */
  end(): void;
}

/** @param left bytes that are still to be sent, asked when the interruption comes */
export function lastChunk(signal: AbortSignal | undefined, left: () => number): LastChunk {
  if (signal === undefined) return { signal, end: () => undefined };
  const stop = new AbortController();
  const breakOff = (): void => stop.abort(signal.reason);
  let timer: NodeJS.Timeout | undefined;
  const onAbort = (): void => {
    if (left() > finishable) breakOff();
    else timer = setTimeout(breakOff, patience);
  };
  if (signal.aborted) breakOff();
  else signal.addEventListener('abort', onAbort, { once: true });
  const end = (): void => {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  };
  return { signal: stop.signal, end };
}
