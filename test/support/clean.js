// A stale compiled test would go on running after its source is gone.
import { rmSync } from 'node:fs';
rmSync(new URL('../../dist', import.meta.url), { recursive: true, force: true });
