import { basename } from 'node:path';
import { isDigest, type Digest } from '../../oci/digest.js';

/** The place of a bundle in a set of parts, into which the images of one bundle were divided. */
export interface BundlePart {
  /** Identifies the set: all parts of one bundle, divided in the same way, have the same value. */
  readonly set: Digest;
  /** From 1. */
  readonly number: number;
  readonly count: number;
  /** Numbers of the earlier parts that carry layers which this part leaves out; empty if it carries all of its layers. */
  readonly needs: readonly number[];
}

/** The most parts of a set: their numbers have at most three digits, as those of volumes. */
export const maxParts = 999;

/** The rows of `about` that describe a part. */
export const partNames = { part: 'part', set: 'part_set', needs: 'part_needs' } as const;

/** Returns the rows of `about` for a part. */
export function aboutOfPart({ set, number, count, needs }: BundlePart): Record<string, string> {
  return {
    [partNames.part]: `${number} of ${count}`,
    [partNames.set]: set,
    ...(needs.length > 0 && { [partNames.needs]: needs.join(' ') }),
  };
}

/**
 * Reads the rows of `about` that describe a part.
 * @returns undefined if the bundle is no part, or if the rows are malformed
 */
export function partOfAbout(valueOf: (name: string) => unknown): BundlePart | undefined {
  const [, numberText, countText] = /^(\d{1,3}) of (\d{1,3})$/.exec(textOf(valueOf(partNames.part))) ?? [];
  const set = valueOf(partNames.set);
  const needsText = textOf(valueOf(partNames.needs));
  const [number, count] = [Number(numberText), Number(countText)];
  const needs = needsText === '' ? [] : needsText.split(' ').map(Number);
  const isSound =
    number >= 1 &&
    number <= count &&
    isDigest(set) &&
    needs.every((need, at) => Number.isInteger(need) && need > (needs[at - 1] ?? 0) && need < number);
  return isSound ? { set, number, count, needs } : undefined;
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** Returns the path of a part: `site.part2.tar` of `site.tar`. The numbers of a set have the same number of digits. */
export function partPath(path: string, number: number, count: number): string {
  const digits = String(number).padStart(String(count).length, '0');
  return `${path.replace(/\.tar$/, '')}.part${digits}.tar`;
}

/** Reports whether a file name is that of a part of a bundle. */
export function isPartOf(bundle: string, name: string): boolean {
  const stem = `${basename(bundle).replace(/\.tar$/, '')}.part`;
  return name.startsWith(stem) && /^\d{1,3}\.tar$/.test(name.slice(stem.length));
}

/** Returns the paths of other parts of a set, named as the part at `path`; undefined if that has another kind of name. */
export function otherParts(path: string, numbers: readonly number[]): string[] | undefined {
  const [, stem, digits] = /^(.*)\.part(\d{1,3})\.tar$/s.exec(path) ?? [];
  if (stem === undefined || digits === undefined) return undefined;
  return numbers.map((number) => `${stem}.part${String(number).padStart(digits.length, '0')}.tar`);
}
