import { maxPlaces, type BasePlace, type DeltaBase } from '../format/delta.js';
import type { Database } from '../format/database.js';
import type { Digest } from '../../oci/digest.js';
import type { Repository } from '../../oci/reference.js';

/** The part of a plan that makes the bundle a delta: what it is made against, and the layers that are left out because that has them. */
export class PlannedBase {
  readonly #database: Database;
  readonly #statements;

  constructor(database: Database) {
    this.#database = database;
    this.#statements = {
      add: database.prepare('INSERT OR IGNORE INTO bases (kind, registry, time, digest) VALUES (?, ?, ?, ?)'),
      // A layer of which an interrupted run has written a part stays in the bundle.
      layer: database
        .prepare(
          `SELECT id FROM blobs WHERE digest = ? AND kind = 'layer' AND size IS NOT NULL AND (left_out = 'base'
            OR (left_out IS NULL AND id NOT IN (SELECT blob FROM marks) AND id NOT IN (SELECT blob FROM contents)))`,
        )
        .pluck(),
      leaveOut: database.prepare("UPDATE blobs SET left_out = 'base' WHERE id = ?"),
      places: database.prepare('SELECT count(*) FROM places WHERE blob = ?').pluck(),
      addPlace: database.prepare('INSERT OR IGNORE INTO places (blob, kind, repository) VALUES (?, ?, ?)'),
      manifest: database.prepare('SELECT 1 FROM manifests JOIN blobs ON id = blob WHERE digest = ?').pluck(),
      layersOf: database
        .prepare(
          `SELECT layer.digest FROM blobs AS parent JOIN edges ON parent = parent.id AND role = 'layer'
            JOIN blobs AS layer ON layer.id = child WHERE parent.digest = ? ORDER BY position`,
        )
        .pluck(),
      repositories: database.prepare(
        'SELECT DISTINCT registry, repository FROM blobs WHERE registry IS NOT NULL ORDER BY registry, repository',
      ),
      totals: database.prepare(
        "SELECT count(*) AS blobs, coalesce(sum(size), 0) AS bytes FROM blobs WHERE left_out = 'base'",
      ),
    };
  }

  /** Records what the bundle is made against. */
  add({ kind, registry, time, digest }: DeltaBase): void {
    this.#statements.add.run(kind, registry ?? null, time, digest);
  }

  /** Reports whether a blob is a layer of the plan that may be left out, or is left out already. */
  isLayer(digest: Digest): boolean {
    return this.#statements.layer.get(digest) !== undefined;
  }

  /** Leaves a layer out because the base has it; does nothing unless the plan has the layer. */
  leaveOut(digest: Digest, places: Iterable<BasePlace>): void {
    const id = this.#statements.layer.get(digest) as number | undefined;
    if (id === undefined) return;
    this.#statements.leaveOut.run(id);
    let count = this.#statements.places.get(id) as number;
    for (const { kind, repository } of places) {
      if (count >= maxPlaces) return;
      count += Number(this.#statements.addPlace.run(id, kind, repository).changes);
    }
  }

  /** Lists the layers of a manifest or index of the plan; undefined if the plan does not have it. */
  layersOf(manifest: Digest): Digest[] | undefined {
    if (this.#statements.manifest.get(manifest) === undefined) return undefined;
    return this.#statements.layersOf.all(manifest) as Digest[];
  }

  /** Lists the repositories that the plan downloads from. */
  repositories(): Repository[] {
    return this.#statements.repositories.all() as Repository[];
  }

  /** Counts the layers that are left out. */
  totals(): { readonly blobs: number; readonly bytes: number } {
    return this.#statements.totals.get() as ReturnType<PlannedBase['totals']>;
  }

  /** Includes left-out blobs again that a change of the plan has made a config. */
  settle(): void {
    this.#database.exec("UPDATE blobs SET left_out = NULL WHERE left_out = 'base' AND kind <> 'layer'");
  }
}
