/**
 * Runs real clients, each in all versions that this machine has, against airlift: `npm run clients`. Not part of `npm test`, because a
 * machine rarely has them: Debian stable has neither docker 28, containerd 2, crane, oras nor cosign. `npm test` checks the same with the
 * programs that CI installs. docs/architecture.md says how to name further programs.
 */
import './loads.js';
import './pulls.js';
import './keyless.js';
import './signatures.js';
