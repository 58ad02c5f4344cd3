import { basename } from 'node:path';
import type { SignatureReport, SignatureState } from '../signing/signatures.js';
import { markup, type Html } from './html-text.js';
import { code } from './page.js';

/** What each result means for the reader. */
const results: Readonly<Record<SignatureState, string>> = {
  valid: '✓ valid: a given key made it, over exactly this content',
  unchecked: 'not checked: no key was given',
  'other-key': '✗ none of the given keys made it',
  'other-content': '✗ a given key made it, over other content',
  forged: '✗ forged: it names a given key, which did not make it',
  malformed: '✗ malformed: not a signature that airlift reads',
};

function classOf(state: SignatureState): string {
  return state === 'valid' ? 'good' : state === 'unchecked' ? 'soft' : 'bad';
}

function signatureRow({ place, format, state, keyId, comment, keyFile, detail }: SignatureReport): Html {
  const isTrusted = state === 'valid' || state === 'other-content';
  const claim = isTrusted ? '' : markup` <span class="soft">(claimed, not checked)</span>`;
  const stated = comment === undefined ? markup`` : markup`${comment}${claim}`;
  const key = keyId === undefined ? markup`` : markup`${code(keyId)}${claim}`;
  return markup`<tr>
    <th scope="row">${basename(place)}</th>
    <td>${format}</td>
    <td>${key}${keyFile === undefined ? '' : markup`<br>${keyFile}`}</td>
    <td class="${classOf(state)} text">${results[state]}${detail === undefined ? '' : markup`<br>${detail}`}</td>
    <td class="text">${stated}</td>
  </tr> `;
}

/** Formats who signed a bundle or a receipt. */
export function signatureSection(signedBy: readonly SignatureReport[], what: string): Html {
  if (signedBy.length === 0)
    return markup`<h2 id="signatures">Signatures of this ${what}</h2>
      <p>None: this ${what} does not prove who made it.</p>`;
  return markup`<h2 id="signatures">Signatures of this ${what}</h2>
    <div class="wide" tabindex="0" role="region" aria-label="Table of signatures">
      <table>
        <thead>
          <tr>
            <th scope="col">Signature</th>
            <th scope="col">Format</th>
            <th scope="col">Key</th>
            <th scope="col">Result</th>
            <th scope="col">Trusted comment</th>
          </tr>
        </thead>
        <tbody>${signedBy.map(signatureRow)}</tbody>
      </table>
    </div>`;
}
