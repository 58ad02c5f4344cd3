import type { Row } from './row.js';
import { exportRow, slowExportRow } from './rows/export.js';
import { againRow, importRow } from './rows/import.js';
import { serveRow } from './rows/serve.js';
import { hugeRow, manyRow } from './rows/scale.js';
import { programTarballsRow, tarballsRow } from './rows/tarballs.js';
import { startRow, verifyRow } from './rows/verify.js';

/** All rows, in the order of the report. */
export const rows: readonly Row[] = [
  exportRow,
  slowExportRow,
  importRow,
  againRow,
  tarballsRow,
  programTarballsRow,
  verifyRow,
  serveRow,
  startRow,
  manyRow,
  hugeRow,
];
