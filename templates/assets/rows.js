'use strict';
// The table of all operations of a large network: its rows are in the data, not in the
// markup, and are drawn page by page. Sorting and searching go over all of them.
(() => {
const RV = globalThis.RV = globalThis.RV || {};
const {say, count} = RV;
const PAGE = 500;

// `value(text, numeric)` is what a cell sorts by, `compare` orders two of them; `every()` says
// whether operations without weights are wanted.
RV.rows = (table, pager, data, {value, compare, every}) => {
const {ops, weighted, kinds, cells} = data;
const place = new Map(ops.map((op, i) => [op, i]));
const numeric = [...table.tHead.rows[0].cells].map(th => th.classList.contains('num'));
let found = null, sorted = null, view = [], page = 0;

const draw = () => {
  const body = document.createElement('tbody');
  for (const i of view.slice(page * PAGE, (page + 1) * PAGE)) {
    const row = body.insertRow();
    row.dataset.op = ops[i];
    row.classList.toggle('aux', !weighted[i]);
    cells.forEach((texts, c) => {
      const cell = c ? row.insertCell() : row.appendChild(document.createElement('th'));
      cell.textContent = texts[i];
      if (c === 1) cell.className = 'k-' + kinds[i];
    });
  }
  table.tBodies[0].replaceWith(body);
  const from = page * PAGE, to = Math.min(from + PAGE, view.length), last = Math.max(0, Math.ceil(view.length / PAGE) - 1);
  pager.querySelector('output').textContent = !view.length ? say('no row')
    : say('rows {from} to {to} of {n}', {from: count(from + 1), to: count(to), n: count(view.length)});
  pager.querySelectorAll('button').forEach(button => { button.disabled = Number(button.dataset.step) < 0 ? !page : page >= last; });
  table.dispatchEvent(new Event('rows', {bubbles: true}));
};
const refresh = () => {
  const order = sorted || ops.map((_, i) => i);
  view = order.filter(i => (every() || weighted[i]) && (!found || found.has(ops[i])));
  page = 0;
  draw();
};
pager.hidden = false;
// What a file of the table gets: all rows that are wanted.
RV.whole = (RV.whole || new Map()).set(table, () => view.map(i => cells.map(texts => texts[i])));
pager.addEventListener('click', event => {
  const step = Number(event.target.closest('button')?.dataset.step);
  if (!step) return;
  page = Math.max(0, Math.min(page + step, Math.ceil(view.length / PAGE) - 1));
  draw();
  table.parentElement.scrollTop = 0;
});
refresh();

return {
  order: ops, refresh,
  texts: op => (place.has(op) ? cells.map(texts => texts[place.get(op)]) : null),
  isWeighted: op => !!weighted[place.get(op)],
  filter(wanted) { found = wanted; refresh(); },
  sort(column, direction) {
    const keys = direction && cells[column].map(text => value(text, numeric[column]));
    sorted = direction ? ops.map((_, i) => i).sort((a, b) => (compare(keys[a], keys[b]) || a - b) * direction) : null;
    refresh();
  },
  // The row of an op, on the page that has it; null where the search has hidden it.
  row(op) {
    const at = view.indexOf(place.get(op));
    if (at < 0) return null;
    page = Math.floor(at / PAGE);
    draw();
    return table.tBodies[0].rows[at % PAGE];
  },
};
};
})();
