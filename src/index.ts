/**
 * The library behind the command line: every command is a function here, with its options, its result and its events as plain data.
 * No function prints, reads the environment or ends the process. docs/library.md introduces it.
 */

// Errors and events
export { AirliftError, isAirliftError } from './errors.js';
export type { ErrorCode, ErrorDetails, PlainError } from './errors.js';
export type { FailedImage } from './failed-images.js';
export type { OnEvent, ProgressEvent } from './progress.js';

// Names of images, and platforms
export { formatReference, formatRepository, parseReference } from './oci/reference.js';
export type { Reference, Repository } from './oci/reference.js';
export { formatPlatform, parsePlatform } from './oci/platform.js';
export type { Platform } from './oci/platform.js';
export { isDigest, parseDigest } from './oci/digest.js';
export type { Digest } from './oci/digest.js';
export { isCompanionTag, subjectOfTag } from './oci/companion-tag.js';

// Lists of images
export { listImages } from './list-images.js';
export type { ListImagesOptions } from './list-images.js';
export { placeOf } from './lists/listed.js';
export type {
  ImageList,
  ListedPattern,
  ListedReference,
  ListFormat,
  ListNote,
  Place,
  ReadList,
} from './lists/listed.js';
export { formatRerun } from './lists/rerun.js';
export type { RerunImage } from './lists/rerun.js';
export { expandTags } from './export/expand-tags.js';
export type { ExpandOptions } from './export/expand-tags.js';

// Bundles
export { exportBundle, exportParts } from './export/export.js';
export type { BasePaths } from './export/apply-bases.js';
export type {
  ExportOptions,
  ExportPartsOptions,
  ExportPartsSummary,
  ExportSummary,
} from './export/export.js';
export { previewExport } from './export/preview.js';
export type { ExportPreview, RequestCost } from './export/preview.js';
export type { TalliedImage } from './export/plan-tally.js';
export type { RequestCount } from './export/request-count.js';
export type { PlanRequest } from './plan/planner.js';
export { inspect } from './inspect.js';
export type { InspectedImage, Inspection, InspectOptions } from './inspect.js';
export { verify } from './verify.js';
export type { VerifyOptions, VerifyReport, WrittenRequest } from './verify.js';
export { registriesOfRequest } from './request/request.js';
export type { DeepReport, LayerWarning } from './deep/deep-check.js';
export type { DeltaReport } from './bundle/verify/check-base.js';
export type { DeltaBase } from './bundle/format/delta.js';
export type { RequestTotals } from './request/request.js';
export type {
  BrokenImage,
  CheckProgress,
  PlatformSize,
  Problem,
  ProblemKind,
  SharedBytes,
} from './bundle/report.js';
export { exportRequested } from './repair/export-requested.js';
export type {
  ExportRequestedOptions,
  ExportRequestedSummary,
  UnavailableBlob,
} from './repair/export-requested.js';
export { stowBundle } from './stow/stow.js';
export type { StowedFile } from './stow/copy-file.js';
export type { StowOptions, StowProgress, StowSummary } from './stow/stow.js';
export { repairBundle } from './repair/repair.js';
export type { MissingBlob, RepairedBlob, RepairOptions, RepairSummary } from './repair/repair.js';
export { compareWithRegistry } from './compare-registry.js';
export type { CompareOptions, Comparison, Difference } from './compare-registry.js';
export type { ImageSignature } from './bundle/verify/check-cosign.js';
export type { ImageSigner } from './signing/authority.js';
export type { KeylessIdentity, SignerOptions } from './policy/requirement.js';
export type { SignatureReport, SignatureState } from './signing/signatures.js';
export { describeSignature } from './signing/signatures.js';
export { isBundleFile, signFile, verifyFile } from './sign.js';
export type { FileVerification, SignOptions, SignSummary } from './sign.js';
export { keygen, refuseExistingKeys } from './signing/keygen.js';
export type { KeygenOptions, KeygenSummary } from './signing/keygen.js';
export { readSecretKey } from './signing/secret-key.js';
export type { LockedKey, SecretKey } from './signing/secret-key.js';
export type { SignatureFormat } from './signing/public-key.js';
export type { BundleSigning, SigningFacts } from './signing/sign-content.js';
export { reportOn } from './report/report.js';
export type {
  Report,
  ReportedImage,
  ReportedPlatform,
  ReportedVolume,
  ReportOptions,
} from './report/report.js';
export type { RecordKind } from './receipts/receipt.js';
export { isReceipt, reportOnReceipt } from './report/receipt-report.js';
export type { ReceiptReport, ReceiptReportOptions, ReportedEntry } from './report/receipt-report.js';
export type { LeftOutBlob, ReportedDelta, ReportedSince } from './report/since.js';
export { formatReport, reportFormats, writeReport } from './report/write-report.js';
export type { FormatReportOptions, ReportFormat } from './report/write-report.js';
export type { Attached, AttachedKind, AttachedSignature } from './report/attached.js';
export type { ReportedPackage } from './report/packages.js';
export { signersOf } from './report/signers.js';
export { splitByImage } from './volumes/split-by-image.js';
export type { SplitByImageOptions } from './volumes/split-by-image.js';
export type { BundlePart } from './bundle/format/part.js';
export type { PartsOptions, WrittenPart, WrittenParts } from './parts/write-parts.js';
export { splitBundle } from './volumes/split.js';
export type { SplitOptions, SplitSummary } from './volumes/split.js';
export { joinBundle } from './volumes/join.js';
export type { JoinOptions, JoinSummary } from './volumes/join.js';
export { verifyVolume } from './volumes/verify-volume.js';
export type { VerifyVolumeOptions, VolumeReport } from './volumes/verify-volume.js';
export type { CopyProgress } from './volumes/copy-bytes.js';
export type { Volume } from './bundle/format/volumes/list.js';
export type { VolumeSize } from './bundle/write/file-limit.js';
export { refuseDirectory } from './io/directories.js';

// Archives of images
export { archiveImages, bundleArchives } from './import/into-bundle.js';
export type { BundleArchivesOptions } from './import/into-bundle.js';
export type { WriteBundleOptions, WrittenBundle } from './merge/write-bundle.js';
export type { ArchiveOptions, HeldImage, InputOptions } from './merge/open-inputs.js';
export type { Compression } from './archive/compression/decompress.js';
export type { ManifestFormat } from './archive/read/layer-store.js';
export { imagesToSave, saveImages } from './save/save.js';
export type { SavedFile, SaveFormat, SaveOptions, SaveSummary } from './save/save.js';
export type { SaveJobOptions } from './save/job.js';
export type { SaveFrom, SaveFromFiles, SaveFromRegistries } from './save/source.js';

// Loading into container engines
export { loadImages } from './load/load.js';
export type { LoadedImage, LoadOptions, LoadSummary } from './load/load.js';
export type { EngineName, EngineOptions } from './load/engine.js';

// Publishing to a registry
export { importImages, siteNames } from './import/import.js';
export type {
  ImportedImage,
  ImportOptions,
  ImportSummary,
  ReceiptOptions,
  SiteNamesOptions,
} from './import/import.js';
export type { AskVolume, WantedVolume } from './import/volume-wait/waited-bundle.js';
export { copyImages, copyNames } from './copy.js';
export type { CopiedImage, CopyOptions, CopySummary } from './copy.js';
export type { PublishedName, PublishingOptions, PublishingSummary } from './publish/publishing-run.js';
export type { BlobTotals } from './publish/blob-publisher.js';
export type { OnExistingTag, OriginalIndex, PublishOutcome, PublishTotals } from './publish/publisher.js';

// Names at the site, and files by which its nodes find them
export { mergedRepositories, parseSite } from './site/names.js';
export type { NamedImage, Site, SiteName } from './site/names.js';
export { parseNameMap, parseRenameRule } from './site/rename.js';
export type { RenameRule } from './site/rename.js';
export { emitNodeFiles } from './site/emit.js';
export type { EarlierFiles } from './site/emit.js';
export type { NodeAccess, NodeFile } from './site/access.js';

// Image indexes
export { appendToIndex, createIndex, mergeIntoIndex, removeFromIndex } from './image-index/edit.js';
export type { AppendOptions, CreateIndexOptions, MergeOptions, RemoveOptions } from './image-index/edit.js';
export type { IndexFieldOptions, IndexOptions, IndexSummary } from './image-index/tagged-index.js';
export type { IndexSource } from './image-index/sources.js';
export type { IndexKind } from './oci/compose.js';
export { inspectIndex } from './image-index/inspect.js';
export type { IndexChildReport, IndexReport, InspectIndexOptions } from './image-index/inspect.js';

// Receipts and deltas
export { inventory } from './inventory.js';
export type { InventoryOptions, InventorySummary } from './inventory.js';
export { mergeBundles } from './merge-bundles.js';
export type { MergeBundlesOptions, MergeBundlesSummary } from './merge-bundles.js';
export type { BundleSetOptions, OnSameName } from './merge/bundle-set.js';
export { diff } from './diff.js';
export type { BundleDifference, DiffOptions, DiffSide, ImageChange, Since } from './diff.js';
export type { SentOptions } from './receipts/sent.js';

// Access to registries
export { Registry } from './registry/registry.js';
export type { RateLimit } from './registry/http/limits.js';
export type {
  ExplicitCredentials,
  HostSettings,
  Mirror,
  MirrorRule,
  ProxyOptions,
  RateBudget,
  RegistryHooks,
  RegistryOptions,
  RequestTrace,
  TlsOptions,
} from './registry/config/options.js';
export type { Descriptor } from './oci/descriptor.js';
export type { FetchOptions, Source } from './oci/source.js';
export type { ExistsOptions, OpenContent, Pushed, PushOptions, Target, TargetOptions } from './oci/target.js';
export { parseMirrorFlag } from './registry/config/mirror-rules.js';
export { readRegistriesConf } from './registry/config/registries-conf.js';
export { readRegistriesYaml } from './registries-yaml.js';
export type { K3sRegistries } from './registry/config/k3s-registries.js';
export { login, logout, parseLoginName } from './login.js';
export type { LoginOptions } from './login.js';
export type { LoginPlace } from './registry/auth/login.js';

// airlift for machines that have nothing installed
export { buildKit, fetchKitParts } from './kit/kit.js';
export type { KitOptions } from './kit/kit.js';
export type { RuntimeSource } from './kit/fetch-runtime.js';
export type { KitImageOptions } from './kit/image.js';
export type { Runtime } from './kit/runtimes.js';
export type { KitExecutable, KitSummary } from './kit/summary.js';

// A registry of one's own
export { serve } from './serve/serve.js';
export type { ServeOptions, ServeSource, Serving } from './serve/serve.js';
export type { CertificateFiles } from './serve/certificate.js';
export { pruneStore } from './registry-server/prune.js';
export type { PruneOptions, PruneSummary } from './registry-server/prune.js';
export { nodeSettings, reachableHost, servedNames } from './serve/node-setup.js';
export type { NodeSetting } from './serve/node-setup.js';
export type {
  Logins,
  RequestEntry,
  ServerCertificate,
  ServerLimits,
  ServerOptions,
} from './registry-server/call.js';
