/** A tile of a treemap, in the units of its drawing. */
export interface Tile {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** Returns the worst ratio of sides among tiles of these areas in a row along a side. */
function worstRatio(areas: readonly number[], side: number): number {
  const sum = areas.reduce((total, area) => total + area, 0);
  const thickness = sum / side;
  return Math.max(
    ...areas.map((area) => Math.max(area / thickness / thickness, (thickness * thickness) / area)),
  );
}

/**
 * Lays out a treemap: one tile for each value, its area proportional to the value, the tiles as square as possible (Bruls, Huizing and
 * van Wijk, "Squarified Treemaps", 2000).
 * @param values positive numbers, largest first
 */
export function treemap(values: readonly number[], width: number, height: number): Tile[] {
  const total = values.reduce((sum, value) => sum + value, 0);
  const areas = values.map((value) => (value / total) * width * height);
  const tiles: Tile[] = [];
  let free = { x: 0, y: 0, width, height };
  while (tiles.length < areas.length) {
    const side = Math.min(free.width, free.height);
    let length = 1;
    const row = (count: number): number[] => areas.slice(tiles.length, tiles.length + count);
    while (
      tiles.length + length < areas.length &&
      worstRatio(row(length + 1), side) <= worstRatio(row(length), side)
    )
      length++;
    const taken = row(length);
    const thickness = taken.reduce((sum, area) => sum + area, 0) / side;
    const isColumn = free.width >= free.height;
    let at = isColumn ? free.y : free.x;
    for (const area of taken) {
      const part = area / thickness;
      tiles.push(
        isColumn
          ? { x: free.x, y: at, width: thickness, height: part }
          : { x: at, y: free.y, width: part, height: thickness },
      );
      at += part;
    }
    free = isColumn
      ? { ...free, x: free.x + thickness, width: free.width - thickness }
      : { ...free, y: free.y + thickness, height: free.height - thickness };
  }
  return tiles;
}
