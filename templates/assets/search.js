'use strict';
// The search box: counts, dims what does not match, and goes from match to match.
(() => {
const RV = globalThis.RV = globalThis.RV || {};
const {say, count} = RV;

RV.search = (input, output, {graph, tables, go}) => {
let hits = [], at = -1;
const told = () => {
  if (!input.value.trim()) return '';
  if (at >= 0) return say('{i} of {n}', {i: count(at + 1), n: count(hits.length)});
  return hits.length === 1 ? say('1 match') : say('{n} matches', {n: count(hits.length)});
};
const find = () => {
  const wanted = input.value.trim();
  graph.search(wanted);
  hits = graph.matches();
  at = -1;
  const found = new Set(hits);
  tables.filter(wanted ? found : null);
  output.textContent = told();
  for (const g of document.querySelectorAll('#flow-chart g[data-op]')) g.classList.toggle('off', !!wanted && !found.has(g.dataset.op));
};
const clear = () => {
  if (!input.value) return false;
  input.value = '';
  find();
  return true;
};
const next = by => {
  if (!hits.length) return;
  at = at < 0 ? (by > 0 ? 0 : hits.length - 1) : (at + by + hits.length) % hits.length;
  go(hits[at]);
  output.textContent = told();
};
input.addEventListener('input', find);
input.addEventListener('keydown', event => {
  if (event.isComposing) return;
  if (event.key === 'Enter') next(event.shiftKey ? -1 : 1);
  else if (event.key === 'Escape') { event.stopPropagation(); clear(); input.blur(); } else return;
  event.preventDefault();
});
return {find, clear, open: () => { input.focus(); input.select(); }};
};
})();
