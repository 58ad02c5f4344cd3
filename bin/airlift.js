#!/usr/bin/env node
import { setFlagsFromString } from 'node:v8';

// Garbage is collected when the heap has grown by a third, not fourfold: memory stays flat however many images there are.
setFlagsFromString('--heap-growing-percent=30');

const { main } = await import('../dist/src/cli/main.js');
process.exitCode = await main(process.argv.slice(2));
