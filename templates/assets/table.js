'use strict';
// Tables: sort by a column, filter by the search, and the short list beside the diagram.
// They read the page's own cells, so that no number is in the file twice.
var RV = globalThis.RV || (globalThis.RV = {});

RV.tables = (page = {}) => {
const value = (cell, numeric) => sortValue(cell.textContent.trim(), numeric);
const sortValue = (text, numeric) => {
  if (!numeric) return text;
  // "∞" and "NaN" are findings, so they sort to the top and not among the missing.
  if (/NaN|∞/.test(text)) return Infinity;
  // What stands behind the number (a unit, ± a spread) does not count.
  const [begin] = /^[-−]?[\d.,]+(?:e[-+]?\d+)?(?:\s?[kMGTP])?/.exec(text) || [''];
  return RV.numberIn(begin) ?? -Infinity;
};

const compare = (a, b) => {
  if (typeof a === 'number' && typeof b === 'number') return a === b ? 0 : a < b ? -1 : 1;
  return String(a).localeCompare(String(b), undefined, {numeric: true});
};

const sort = (table, column, direction) => {
  if (far && table === layers) { far.sort(column, direction); return; }
  const numeric = table.tHead.rows[0].cells[column].classList.contains('num');
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row, i) => {
    row.dataset.i ??= i;
    return [direction ? value(row.cells[column], numeric) : Number(row.dataset.i), row];
  });
  rows.sort((a, b) => (compare(a[0], b[0]) || a[1].dataset.i - b[1].dataset.i) * (direction || 1));
  body.append(...rows.map(r => r[1]));
};

// First click: largest number or first name on top; second: the other way; third: forward order.
const makeSortable = table => {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((th, column) => {
    if ('nosort' in th.dataset) return;
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...th.childNodes);
    th.append(button);
    th.setAttribute('aria-sort', 'none');
    button.addEventListener('click', () => {
      const order = th.classList.contains('num') ? ['descending', 'ascending', 'none'] : ['ascending', 'descending', 'none'];
      const next = {none: order[0], [order[0]]: order[1], [order[1]]: 'none'}[th.getAttribute('aria-sort')];
      heads.forEach(h => h.hasAttribute('aria-sort') && h.setAttribute('aria-sort', 'none'));
      th.setAttribute('aria-sort', next);
      sort(table, column, {ascending: 1, descending: -1, none: 0}[next]);
    });
  });
};

const layers = document.getElementById('layers');
const columns = [...layers.tHead.rows[0].cells].map(th => th.textContent);
const rowOf = new Map([...layers.tBodies[0].rows].map(row => [row.dataset.op, row]));

// The list beside the diagram: name, params, MACs and gradient of the weighted layers.
const list = document.getElementById('layer-list');
// The last column is the line of source; of the measured ones the gradient says most.
const gradient = columns.findIndex(name => name.startsWith('‖∂L/∂W‖'));
const shown = [0, 3, 4, gradient < 0 ? 6 : gradient].filter(i => i < columns.length - 1);
const head = list.tHead.insertRow();
for (const i of shown) {
  const th = layers.tHead.rows[0].cells[i].cloneNode(true);
  head.append(th);
}
for (const [op, row] of rowOf) {
  if (row.classList.contains('aux')) continue;
  const copy = list.tBodies[0].insertRow();
  copy.dataset.op = op;
  for (const i of shown) copy.append(row.cells[i].cloneNode(true));
  // What tells long paths apart is their end.
  const name = copy.cells[0], path = name.textContent;
  name.title = path;
  if (path.length > 22) name.textContent = '…' + path.replace(/\/[^/]*#0$/, '').slice(-17);
}
const all = document.getElementById('all-ops');
// Of a large network the rows are in the data.
const far = page.rows && RV.rows(layers, document.getElementById('layers-pager'), page.rows, {value: sortValue, compare, every: () => all.checked});
document.querySelectorAll('table.sortable').forEach(makeSortable);
makeSortable(list);

all.addEventListener('change', () => { layers.classList.toggle('weighted-only', !all.checked); far?.refresh(); });

return {
  // All ops as they ran.
  order: far ? far.order : [...rowOf.keys()],
  // What a row says of an op, as [heading, text] pairs without the empty ones.
  facts(op) {
    const texts = far ? far.texts(op) : [...rowOf.get(op)?.cells ?? []].map(cell => cell.textContent.trim());
    if (!texts?.length) return [];
    return columns.map((name, i) => [name, texts[i]]).filter(([, text]) => text && text !== '–');
  },
  columns,
  // Hides the rows of all ops but these; null shows all again.
  filter(found) {
    if (far) far.filter(found);
    else for (const [op, row] of rowOf) row.classList.toggle('off', !!found && !found.has(op));
    for (const row of list.tBodies[0].rows) row.classList.toggle('off', !!found && !found.has(row.dataset.op));
  },
  // Brings an op's row into sight.
  show(op) {
    const aux = far ? !far.isWeighted(op) : rowOf.get(op)?.classList.contains('aux');
    if (aux && !all.checked) { all.checked = true; all.dispatchEvent(new Event('change')); }
    const row = far ? far.row(op) : rowOf.get(op);
    row?.scrollIntoView({block: 'center'});
  },
};
};
