import type { BundleWriter } from '../bundle/write/writer.js';
import type { PlanSink } from '../plan/graph.js';

/** A bundle being planned, as the planner's sink. */
export function writerSink(writer: BundleWriter): PlanSink {
  return {
    has: (digest) => writer.has(digest),
    blob: (node) => writer.addBlob(node),
    leftOut: ({ descriptor, role }) => writer.leaveOut(descriptor, role, 'foreign'),
    manifest: ({ descriptor, bytes, manifest, platform, edges }) => {
      const artifactType = manifest.artifactType;
      writer.addManifest({ descriptor, bytes, platform, artifactType, subject: manifest.subject?.digest });
      for (const { child, role, position } of edges) writer.addEdge(descriptor.digest, child, role, position);
    },
  };
}
