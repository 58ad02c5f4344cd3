import { formatBytes } from '../oci/bytes.js';
import { markup, type Html } from './html-text.js';
import type { Report } from './report.js';
import { treemap, type Tile } from './treemap.js';

/** Maximum number of tiles for images; if there are more images, those below the same path have one tile. */
const maxTiles = 120;
const [width, height] = [1200, 480];

interface Part {
  readonly name: string;
  readonly bytes: number;
  readonly kind: 'own' | 'shared' | 'rest';
}

/** Adds up the images below the same path, such as `ghcr.io/acme`. */
function byPath(parts: readonly Part[]): Part[] {
  const groups = new Map<string, { bytes: number; images: number }>();
  for (const { name, bytes } of parts) {
    const path = name.slice(0, Math.max(0, name.lastIndexOf('/')));
    const group = groups.get(path) ?? { bytes: 0, images: 0 };
    groups.set(path, { bytes: group.bytes + bytes, images: group.images + 1 });
  }
  return [...groups].map(([path, { bytes, images }]) => ({
    name: `${path}/… (${images} images)`,
    bytes,
    kind: 'own',
  }));
}

function largestFirst(parts: readonly Part[]): Part[] {
  return parts.filter(({ bytes }) => bytes > 0).sort((one, other) => other.bytes - one.bytes);
}

function partsOf({ images, shared }: Report): Part[] {
  const single = images.map(({ reference, ownBytes }): Part => ({
    name: reference,
    bytes: ownBytes,
    kind: 'own',
  }));
  const own = largestFirst(single.length > maxTiles ? byPath(single) : single);
  const rest = own.slice(maxTiles);
  const restBytes = rest.reduce((sum, { bytes }) => sum + bytes, 0);
  const common = shared.map((part): Part => ({
    name: `shared by ${part.images} images`,
    bytes: part.bytes,
    kind: 'shared',
  }));
  return largestFirst([
    ...own.slice(0, maxTiles),
    ...common,
    { name: `${rest.length} more`, bytes: restBytes, kind: 'rest' },
  ]);
}

/** Shortens a name to what fits into a tile; keeps its end, which tells images of one registry apart. */
function fitting(name: string, room: number): string {
  const characters = Math.floor(room / 6.2);
  return name.length <= characters ? name : `…${name.slice(1 - characters)}`;
}

function tileOf({ name, bytes, kind }: Part, tile: Tile): Html {
  const round = (value: number): string => value.toFixed(1);
  const title = `${name}: ${formatBytes(bytes)}`;
  const isLabelled = tile.width > 56 && tile.height > 34;
  const label = isLabelled
    ? markup`<text x="${round(tile.x + 5)}" y="${round(tile.y + 15)}">${fitting(name, tile.width - 10)}</text>
       <text x="${round(tile.x + 5)}" y="${round(tile.y + 29)}">${formatBytes(bytes)}</text>`
    : '';
  const [x, y, w, h] = [tile.x, tile.y, tile.width, tile.height].map(round);
  return markup`<g><title>${title}</title><rect class="${kind}" x="${x ?? 0}" y="${y ?? 0}" width="${w ?? 0}" height="${h ?? 0}"/>${label}</g>
`;
}

/** Draws how the bytes of a bundle divide among its images, and how many of them several images share. */
export function sizeSection(report: Report): Html {
  const parts = partsOf(report);
  if (parts.length === 0) return markup``;
  const tiles = treemap(
    parts.map(({ bytes }) => bytes),
    width,
    height,
  );
  const shared = report.shared.reduce((sum, { bytes }) => sum + bytes, 0);
  const total = parts.reduce((sum, { bytes }) => sum + bytes, 0);
  const drawn = tiles.map((tile, at) => {
    const part = parts[at];
    return part === undefined ? markup`` : tileOf(part, tile);
  });
  const caption = `The area of a tile shows the bytes that only that image uses. Of ${formatBytes(total)}, several images share ${formatBytes(shared)}.`;
  return markup`<h2 id="sizes">Where the bytes are</h2>
    <p id="sizes-text">${caption}</p>
    <p class="key soft">
      <span class="own">used by one image</span><span class="shared">shared by several images</span>
      <span class="rest">smaller ones</span>
    </p>
    <div class="wide" tabindex="0" role="region" aria-label="Drawing of sizes">
      <svg viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="sizes sizes-text">${drawn}</svg>
    </div>`;
}
