/** The public API: everything the CLI does is callable. */
export { AirliftError, isAirliftError, type ErrorCode, type PlainError } from './errors.js';
export { exportImages, type ExportOptions, type ExportSummary, type FailedImage } from './export/export.js';
export { previewExport, type ExportPreview } from './export/preview.js';
export {
  importImages,
  siteNames,
  type ImportedImage,
  type ImportOptions,
  type ImportSummary,
} from './import/import.js';
export { inspect, type Inspection } from './inspect.js';
export { verify, type VerifyReport } from './verify.js';
export {
  archiveImages,
  bundleArchives,
  type BundleArchivesOptions,
  type BundleArchivesSummary,
} from './import/into-bundle.js';
export type { ArchiveOptions, HeldImage } from './merge/open-inputs.js';
export { copyImages, copyNames, type CopiedImage, type CopyOptions, type CopySummary } from './copy.js';
export { listImages, type ListImagesOptions } from './list-images.js';
export { serve, type ServeOptions, type ServeSource, type Serving } from './serve/serve.js';
export { login, logout, parseLoginName, type LoginOptions } from './login.js';
export { emitNodeFiles, type EarlierFiles } from './site/emit.js';
export { mergedRepositories, parseSite, type Site, type SiteName } from './site/names.js';
export { parseNameMap, parseRenameRule } from './site/rename.js';
export { expandTags, type ExpandOptions } from './export/expand-tags.js';
export { placeOf, type ImageList, type ListedReference } from './lists/listed.js';
export { formatRerun, type RerunImage } from './lists/rerun.js';
export { readRegistriesYaml } from './registries-yaml.js';
export { refuseDirectory } from './bundle/write/output-name.js';
export { isCompanionTag, subjectOfTag } from './oci/companion-tag.js';
export { Registry, type RegistryHooks, type RegistryOptions } from './registry/registry.js';
export type { OnEvent, ProgressEvent } from './progress.js';
export {
  imagesToSave,
  saveImages,
  type SaveOptions,
  type SaveSummary,
  type SavedFile,
  type SaveFormat,
} from './save/save.js';
export { createIndex, appendToIndex, removeFromIndex, mergeIntoIndex } from './image-index/edit.js';
export { inspectIndex, type IndexReport } from './image-index/inspect.js';
