/**
 * Schedule of one direction of a slow connection: bytes pass one after the other at a fixed rate, and each arrives a fixed time
 * after it was sent. Times are in milliseconds, from any clock.
 */
export class LinkSchedule {
  /** Time from which the link is free again. */
  #free: number;

  /**
   * @param bytesPerSecond bandwidth
   * @param delay time on the way
   * @param start time from which bytes can be sent
   */
  constructor(
    private readonly bytesPerSecond: number,
    private readonly delay: number,
    start: number,
  ) {
    this.#free = start;
  }

  /** Sends bytes now, or as soon as the link is free, and returns the time at which the last of them arrives. */
  send(bytes: number, now: number): number {
    this.#free = Math.max(this.#free, now) + (bytes / this.bytesPerSecond) * 1000;
    return this.#free + this.delay;
  }
}
