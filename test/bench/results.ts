/** Results of the benchmark, and what follows from them. */
import { median, type Measured } from './measure.js';

/**
 * - `airlift`: the program that the benchmark is about
 * - `peer`: another tool that people use for this work
 * - `floor`: a part of the work that no program can leave out
 */
type Kind = 'airlift' | 'peer' | 'floor';

/** All runs of one contender in a row. */
export interface ContenderResult {
  /** Name without version, as goals use it. */
  readonly tool: string;
  readonly kind: Kind;
  /** Name and version. */
  readonly title: string;
  /** The commands, as Markdown. */
  readonly does: string;
  readonly runs: readonly Measured[];
}

export type Figure = keyof Measured;

/** An upper limit for a figure of airlift: absolute, or as a multiple of another contender's figure. */
export interface Goal {
  readonly figure: Figure;
  readonly limit: number;
  /** The contender that `limit` is a multiple of. With several versions, the one with the lowest figure counts. */
  readonly of?: string;
}

/** One row of the benchmark: the same work done by several contenders. */
export interface RowResult {
  readonly name: string;
  readonly title: string;
  /** Description of the work, as Markdown: input and output. */
  readonly work: string;
  readonly contenders: readonly ContenderResult[];
  readonly goals: readonly Goal[];
}

/** Returns the median of a figure. */
export function figureOf(contender: ContenderResult, figure: Figure): number {
  return median(contender.runs.map((run) => run[figure]));
}

/** Returns airlift's result in a row. */
export function airliftOf(row: RowResult): ContenderResult {
  const airlift = row.contenders.find(({ kind }) => kind === 'airlift');
  if (airlift === undefined) throw new Error(`row ${row.name} has no result of airlift`);
  return airlift;
}

/** Returns the contender with the lowest figure among those that a condition selects. */
function lowest(
  row: RowResult,
  figure: Figure,
  isWanted: (contender: ContenderResult) => boolean,
): ContenderResult | undefined {
  return row.contenders
    .filter(isWanted)
    .reduce<ContenderResult | undefined>(
      (best, next) => (best === undefined || figureOf(next, figure) < figureOf(best, figure) ? next : best),
      undefined,
    );
}

/** Returns the fastest peer or floor of a row; undefined if there is none. */
export function fastest(row: RowResult, kind: 'peer' | 'floor'): ContenderResult | undefined {
  return lowest(row, 'wall', (contender) => contender.kind === kind);
}

/** Returns airlift's figure divided by that of another contender. */
export function ratio(row: RowResult, other: ContenderResult, figure: Figure): number {
  return figureOf(airliftOf(row), figure) / figureOf(other, figure);
}

export interface Verdict {
  readonly goal: Goal;
  /** Name and version of the contender that the goal refers to. */
  readonly of: string | undefined;
  /** airlift's figure, as a multiple of the other contender's figure if the goal names one. */
  readonly value: number;
  readonly isReached: boolean;
}

/** Compares airlift's figures with the goals. Leaves out goals that refer to a contender that was not measured. */
export function verdicts(row: RowResult): Verdict[] {
  return row.goals.flatMap((goal) => {
    const other =
      goal.of === undefined ? undefined : lowest(row, goal.figure, ({ tool }) => tool === goal.of);
    if (goal.of !== undefined && other === undefined) return [];
    const value =
      other === undefined ? figureOf(airliftOf(row), goal.figure) : ratio(row, other, goal.figure);
    return [{ goal, of: other?.title, value, isReached: value <= goal.limit }];
  });
}
