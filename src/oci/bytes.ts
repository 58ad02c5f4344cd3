/** Powers of 1000, as docker prints image sizes. */
const units = ['B', 'kB', 'MB', 'GB', 'TB'];

/** Formats a number of bytes: `1.9 GB`, `12 kB`, `0 B`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  const digits = unit > 0 && value < 9.95 ? 1 : 0;
  return `${value.toFixed(digits)} ${units[unit]}`;
}
