/** The public API: everything the CLI does is callable. */
export { AirliftError, isAirliftError, type ErrorCode, type PlainError } from './errors.js';
export { exportImages, type ExportOptions, type ExportSummary, type FailedImage } from './export.js';
export {
  importImages,
  parseSite,
  type ImportedImage,
  type ImportOptions,
  type ImportSummary,
  type Site,
} from './import.js';
export type { OnEvent, ProgressEvent } from './progress.js';
