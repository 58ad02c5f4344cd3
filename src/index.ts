/** The public API: everything the CLI does is callable. */
export { AirliftError, isAirliftError, type ErrorCode, type PlainError } from './errors.js';
export { exportImages, type ExportOptions, type ExportSummary, type FailedImage } from './export.js';
export type { OnEvent, ProgressEvent } from './progress.js';
