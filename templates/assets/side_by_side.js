'use strict';
// Two models side by side: a row of the drawing, its parts in the table and what differs in them
// are one thing. Pointing at one marks all; choosing a row lists its differences below.
(() => {
const figure = document.querySelector('.pairs');
if (!figure) return;
const MOST = 60;
const numbers = text => (text ? text.split(' ').map(Number) : []);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const parts = all('#parts tbody tr'), lines = all('#differences tbody tr');
const told = numbers(figure.dataset.told);
const places = new Map();
const put = (pair, node) => { if (places.has(pair)) places.get(pair).push(node); else places.set(pair, [node]); };
const pairsOf = new Map();
const know = (node, pairs) => { pairsOf.set(node, pairs); for (const pair of pairs) put(pair, node); };
for (const row of all('.pair', figure)) know(row, numbers(row.dataset.pairs));
parts.forEach((row, i) => know(row, [i]));
lines.forEach((row, i) => know(row, [told[i]]));

const marked = {hl: [], sel: []};
const mark = (name, pairs) => {
  for (const node of marked[name]) node.classList.remove(name);
  marked[name] = [...new Set(pairs.flatMap(pair => places.get(pair) || []))];
  for (const node of marked[name]) node.classList.add(name);
};

const panel = figure.querySelector('.pair-panel'), found = panel.querySelector('.found');
const show = (row, pairs) => {
  const mine = lines.filter((_, i) => pairs.includes(told[i]));
  const equal = !mine.length && row?.classList.contains('is-equal');
  panel.querySelector('.hint').hidden = Boolean(row);
  panel.querySelector('.all-equal').hidden = !equal;
  found.hidden = !row;
  if (!row) return found.replaceChildren();
  const name = document.createElement('h4');
  name.textContent = row.querySelector('title').textContent;
  found.replaceChildren(name);
  if (!mine.length) return undefined;
  const whole = lines[0].closest('table'), table = whole.cloneNode(false), body = document.createElement('tbody');
  body.append(...mine.slice(0, MOST).map(line => line.cloneNode(true)));
  for (const line of body.children) line.classList.remove('hl', 'sel');
  table.append(whole.tHead.cloneNode(true), body);
  const wrap = document.createElement('div');
  wrap.className = 'tablewrap';
  wrap.tabIndex = 0;
  wrap.append(table);
  found.append(wrap);
  if (mine.length > MOST) {
    const link = document.createElement('a');
    link.href = '#differences';
    link.textContent = `+ ${(mine.length - MOST).toLocaleString('en')}`;
    found.append(link);
  }
  return undefined;
};
const choose = row => {
  const pairs = row ? pairsOf.get(row) : [];
  for (const other of all('.pair', figure)) other.setAttribute('aria-pressed', String(other === row));
  mark('sel', pairs);
  show(row, pairs);
};

for (const svg of all('svg.rv-pairs', figure)) {
  // What can be chosen in it must be there for a screen reader, too.
  svg.setAttribute('role', 'group');
  const rows = all('.pair', svg);
  rows.forEach((row, i) => {
    row.setAttribute('role', 'button');
    row.setAttribute('aria-pressed', 'false');
    row.setAttribute('tabindex', i ? '-1' : '0');
    row.setAttribute('aria-label', row.querySelector('title').textContent);
  });
  svg.addEventListener('click', event => {
    const row = event.target.closest('.pair');
    if (row) choose(row.getAttribute('aria-pressed') === 'true' ? null : row);
  });
  svg.addEventListener('keydown', event => {
    const at = rows.indexOf(event.target.closest('.pair'));
    if (at < 0) return;
    const to = {ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1}[event.key];
    if (event.key === 'Enter' || event.key === ' ') choose(rows[at]);
    else if (event.key === 'Escape') choose(null);
    else if (to === undefined) return;
    else if (rows[to]) {
      rows[at].setAttribute('tabindex', '-1');
      rows[to].setAttribute('tabindex', '0');
      rows[to].focus();
    }
    event.preventDefault();
  });
}
const point = event => {
  const node = event.target.closest?.('.pair,#parts tbody tr,#differences tbody tr');
  mark('hl', (node && pairsOf.get(node)) || []);
};
document.addEventListener('pointerover', point);
document.addEventListener('focusin', point);
for (const row of [...parts, ...lines]) {
  row.addEventListener('click', () => {
    if (!getSelection().isCollapsed) return;
    const shown = (places.get(pairsOf.get(row)[0]) || []).find(node => node.matches('.pair') && node.getBoundingClientRect().width);
    if (!shown) return;
    choose(shown);
    shown.scrollIntoView({block: 'center', behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth'});
  });
}
})();
