/**
 * Runs real clients, each in all versions that this machine has, against airlift: `npm run clients`. Not part of `npm test`, because a
 * machine rarely has them: Debian stable has neither docker 28, containerd 2, crane, oras nor cosign. Tests with the names of the suite
 * check the same with what is installed in CI. docs/contributing.md says how to name further programs.
 */
import './loads.js';
import './pulls.js';
import './signatures.js';
