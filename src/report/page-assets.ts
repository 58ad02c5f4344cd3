/** The style sheet of the page: light and dark by the reader's setting, light on paper. */
export const style = `
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --paper: #fff; --line: #d0d7de; --band: #f6f8fa;
  --own: #b6d4f2; --shared: #c9e4c5; --rest: #e3e3e3; --good: #116329; --bad: #a40e26; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9da7b3; --paper: #0d1117; --line: #3d444d; --band: #161b22;
  --own: #1f4a75; --shared: #23532b; --rest: #3a3f46; --good: #56d364; --bad: #ff7b72; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 82rem; padding: 1.5rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; overflow-wrap: anywhere; } h2 { font-size: 1.25rem; margin-top: 2.5rem; }
li, p, caption { overflow-wrap: anywhere; }
code { font: .875em/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { padding: .75rem 1rem; background: var(--band); border: 1px solid var(--line); border-radius: 6px; white-space: pre-wrap; }
a { color: inherit; } nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; list-style: none; }
a.skip { position: absolute; left: -99rem; } a.skip:focus { position: static; }
.good { color: var(--good); } .bad { color: var(--bad); } .soft { color: var(--soft); }
.state { padding: .75rem 1rem; border: 1px solid; border-left-width: .5rem; border-radius: 6px; font-weight: 600; }
table code { display: inline-block; min-width: 19rem; } .text { overflow-wrap: anywhere; min-width: 13rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.5rem; } dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; } caption { text-align: left; color: var(--soft); padding: .25rem 0; }
th, td { padding: .4rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
thead th { background: var(--band); position: sticky; top: 0; } tbody th { font-weight: 400; overflow-wrap: anywhere; min-width: 16rem; } tbody th > code { color: var(--soft); min-width: 15rem; }
td.source { overflow-wrap: anywhere; min-width: 9rem; }
tbody tr:hover > * { background: var(--band); }
td.line { white-space: nowrap; } td.number, th.number { text-align: right; white-space: nowrap; }
summary { cursor: pointer; } a:focus-visible, summary:focus-visible, input:focus-visible, .wide:focus-visible { outline: 3px solid var(--own); outline-offset: 2px; }
details dl { display: block; margin: .5rem 0 1rem; font-size: .9rem; } details dt { margin-top: .35rem; } details dd { margin-left: 1rem; }
label { display: block; margin: .5rem 0; } input { font: inherit; width: min(30rem, 100%); padding: .4rem .6rem; color: inherit;
  background: var(--paper); border: 1px solid var(--soft); border-radius: 6px; }
svg { display: block; width: 100%; min-width: 44rem; height: auto; } svg text { fill: var(--ink); font: 11px system-ui, sans-serif; }
rect { stroke: var(--paper); stroke-width: 1.5; } rect.own { fill: var(--own); } rect.shared { fill: var(--shared); } rect.rest { fill: var(--rest); }
.key span::before { content: ''; display: inline-block; width: .9em; height: .9em; margin: 0 .4em 0 1em; border: 1px solid var(--line); }
.key .own::before { background: var(--own); } .key .shared::before { background: var(--shared); } .key .rest::before { background: var(--rest); }
table.people td { height: 3rem; }
@media print { :root { color-scheme: light; --ink: #000; --soft: #333; --paper: #fff; --line: #999; --band: #fff; --own: #cfe2f7; --shared: #d8edd5;
  --rest: #eee; --good: #000; --bad: #000; } body { max-width: none; padding: 0; font-size: 10pt; } .filter, a.skip, nav { display: none; }
  .wide { overflow: visible; } table { font-size: 8pt; } table code { min-width: 0; word-break: break-all; } .text, td.source { min-width: 0; } tbody th { min-width: 8.5rem; } tbody th > code { min-width: 0; }
  details dl { font-size: 7.5pt; } th, td { padding: .2rem .3rem; }
  td.line, td.number, th.number { white-space: normal; } svg { min-width: 0; } rect { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  thead th { position: static; } tr, .approval, svg { break-inside: avoid; } thead { display: table-header-group; } @page { margin: 14mm; } h2 { break-after: avoid; } }
`;

/** The script of the page: filters the rows of a table while the reader types. The page is complete without it. */
export const script = `
for (const box of document.querySelectorAll('input[data-filters]')) {
  const rows = [...document.querySelectorAll('#' + box.dataset.filters + ' > tbody > tr')];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const status = document.getElementById(box.dataset.filters + '-status');
  box.closest('.filter').hidden = false;
  box.addEventListener('input', () => {
    const words = box.value.toLowerCase().split(/\\s+/);
    let shown = 0;
    rows.forEach((row, at) => {
      row.hidden = !words.every((word) => texts[at].includes(word));
      if (!row.hidden) shown++;
    });
    status.textContent = shown + ' of ' + rows.length + ' shown';
  });
}
`;
