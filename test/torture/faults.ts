/** Random faults of networks and registries. */
import { failing, retryLater, type Rule } from '../support/fault-rules.js';
import type { Dice } from './dice.js';

/** Flags with short delays, so that faults do not slow the tests down. Runs without faults do without: a busy machine may be as slow. */
export const hasty = ['--retry-delay', '5ms', '--idle-timeout', '400ms'];

const content = /\/(?:blobs|manifests)\//;

/** Returns a rule that sends content in small pieces, so that a run lasts long enough to be killed in the middle. */
export function slowness(dice: Dice): Rule {
  return { fault: { do: 'slow', bytes: 65_536, every: dice.between(1, 4) }, path: /\/blobs\// };
}

/** Returns up to three rules with faults of downloads. */
export function downloadFaults(dice: Dice): Rule[] {
  const chance = 0.05 + dice.roll() * 0.3;
  const all: readonly [Rule, ...Rule[]] = [
    { fault: { do: 'reset', after: 'random' }, method: 'GET', path: content, chance },
    { fault: { do: 'truncate', after: 'random' }, method: 'GET', path: content, chance },
    { fault: { do: 'stall', after: 'random' }, method: 'GET', path: content, times: dice.between(1, 4) },
    { fault: { do: 'flip', at: 'random' }, method: 'GET', path: content, times: 1 },
    { fault: failing(dice.pick([500, 502, 503, 504])), chance },
    { fault: retryLater(dice.pick([429, 503]), 0), chance },
    { fault: { do: 'wrong-length', by: dice.pick([-1, 1, -1000, 1000]) }, path: content, times: 2 },
    { fault: { do: 'no-range' }, chance },
    { fault: { do: 'reset', in: 'request', after: 0 }, chance },
  ];
  return Array.from({ length: Math.max(0, dice.between(-2, 3)) }, () => dice.pick(all));
}

/** Returns up to three rules with faults of uploads. */
export function uploadFaults(dice: Dice): Rule[] {
  const chance = 0.05 + dice.roll() * 0.3;
  const writes = /^(?:PUT|PATCH|POST)$/;
  const all: readonly [Rule, ...Rule[]] = [
    { fault: { do: 'reset', in: 'request', after: 'random' }, method: writes, chance },
    // The request is completed, but its response is lost.
    { fault: { do: 'reset', after: 0 }, method: writes, chance },
    { fault: { do: 'stall', in: 'request', after: 'random' }, method: writes, times: dice.between(1, 3) },
    { fault: { do: 'stall', after: 0 }, times: 1 },
    { fault: failing(dice.pick([500, 502, 503, 504])), chance },
    { fault: retryLater(dice.pick([429, 503]), 0), chance },
    { fault: { do: 'truncate', after: 'random' }, method: 'GET', path: content, chance },
  ];
  return Array.from({ length: Math.max(0, dice.between(-2, 3)) }, () => dice.pick(all));
}
