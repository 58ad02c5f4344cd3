import { createHash } from 'node:crypto';
import { Html, markup } from './html-text.js';
import { script, style } from './page-assets.js';

/** Formats a number with its noun: `1 image`, `2,000 images`. */
export function count(n: number, noun: string): string {
  return `${n.toLocaleString('en')} ${noun}${n === 1 ? '' : 's'}`;
}

/** Formats a term and its description, for a `dl`. */
export function row(name: string, value: string | Html): Html {
  return markup`<dt>${name}</dt>
    <dd>${value}</dd>`;
}

export function code(text: string): Html {
  return markup`<code>${text}</code>`;
}

/** Says that a table shows only its first rows; nothing if it shows all. */
export function cutNote(all: number, most: number): string {
  return all > most
    ? ` The first ${most.toLocaleString('en')} of ${all.toLocaleString('en')}; the report in JSON lists all.`
    : '';
}

function digestOfText(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}

/** Allows the page's own style and script by their digests and nothing else: no network, no form, no other script. */
function policy(): string {
  return `default-src 'none'; style-src ${digestOfText(style)}; script-src ${digestOfText(script)}; base-uri 'none'; form-action 'none'`;
}

function filter(table: string, label: string): Html {
  return markup`<div class="filter" hidden>
    <label>${label} <input type="search" data-filters="${table}" autocomplete="off"></label>
    <p class="soft" role="status" id="${table}-status"></p>
  </div>`;
}

export interface Column {
  readonly name: string;
  readonly isNumber?: boolean;
}

export interface TableText {
  /** Title of the section. */
  readonly heading: string;
  /** Id of the table, and the word for its rows. */
  readonly table: string;
  readonly caption: string;
  /** What its rows are, if that is not the id. */
  readonly rows?: string | undefined;
  /** What comes between the title and the table. */
  readonly before?: Html | undefined;
}

/** Yields a heading, a box that filters the rows, and a table. */
export function* tableSection(
  { heading, table, caption, rows: noun = table, before = markup`` }: TableText,
  columns: readonly Column[],
  rows: Iterable<Html>,
): Iterable<Html> {
  const heads = columns.map(({ name, isNumber = false }) =>
    isNumber ? markup`<th scope="col" class="number">${name}</th>` : markup`<th scope="col">${name}</th>`,
  );
  yield markup`<h2 id="${table}-heading">${heading}</h2>${before}
    ${filter(table, `Show ${noun} that contain`)}
    <div class="wide" tabindex="0" role="region" aria-label="Table of ${noun}">
      <table id="${table}">
        <caption>${caption}</caption>
        <thead>
          <tr>${heads}</tr>
        </thead>
        <tbody>
`;
  yield* rows;
  yield markup`</tbody></table></div>`;
}

/** Formats links to the sections of a page: of a long page, they are the only quick way from the keyboard and on paper. */
export function sectionLinks(sections: readonly (readonly [id: string, title: string])[]): Html {
  const links = sections.map(([id, title]) => markup`<li><a href="#${id}">${title}</a></li> `);
  return markup`<nav aria-label="Sections">
    <ul>${links}</ul>
  </nav>`;
}

/** Formats a heading and a list of sentences; nothing if there are none. */
export function listSection(heading: string, items: readonly string[]): Html {
  if (items.length === 0) return markup``;
  return markup`<h2>${heading}</h2>
    <ul>
      ${items.map((item) => markup`<li>${item}</li>`)}
    </ul>`;
}

function peopleSection(what: string): Html {
  const line = markup`<tr>
    <td></td>
    <td></td>
    <td></td>
    <td></td>
  </tr>`;
  return markup`<section class="approval"><h2 id="approval">Approval</h2>
    <div class="wide" tabindex="0" role="region" aria-label="Table of approvals"><table class="people">
      <caption>
        For the people who pass this ${what} on.
      </caption>
      <thead>
        <tr>
          <th scope="col">Role</th>
          <th scope="col">Name</th>
          <th scope="col">Date</th>
          <th scope="col">Signature</th>
        </tr>
      </thead>
      <tbody>
        ${[line, line, line]}
      </tbody>
    </table></div></section>`;
}

export interface PageText {
  readonly name: string;
  /** What the page is about: `bundle`, `receipt`. */
  readonly what: string;
  /** Where the link goes that skips the summary. */
  readonly contents: string;
  /** Version of airlift. */
  readonly version: string;
  /** Commands that give the same facts. */
  readonly commands: Html;
}

/** Yields a page that needs nothing else: no network, no file, no script to be complete. */
export function* page(
  { name, what, contents, version, commands }: PageText,
  body: Iterable<Html>,
): Iterable<string> {
  yield markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${new Html(policy())}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>${name}: contents</title>
<style>${new Html(style)}</style></head>
<body>
<a class="skip" href="#${contents}">Skip to the ${contents}</a>
<main>
<h1>${name}</h1>
`.text;
  for (const part of body) yield part.text;
  yield markup`${peopleSection(what)}
<p class="soft">Made by airlift ${version}. ${commands} give the same facts.</p></main>
<script>${new Html(script)}</script></body></html>
`.text;
}
