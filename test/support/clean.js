// Removes all compiled files: otherwise a compiled test would still run after its source is deleted.
import { rmSync } from 'node:fs';
rmSync(new URL('../../dist', import.meta.url), { recursive: true, force: true });
