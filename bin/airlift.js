#!/usr/bin/env node
import { setFlagsFromString } from 'node:v8';

// Garbage is collected when the heap has grown by a third, not fourfold: memory stays flat however many images there are.
setFlagsFromString('--heap-growing-percent=30');

const { main } = await import('../dist/src/cli/main.js');
const code = await main(process.argv.slice(2));
// Whoever pressed Ctrl-C does not wait for what is still being looked up or closed.
if (code === 130) process.exit(code);
process.exitCode = code;
