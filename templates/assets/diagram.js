'use strict';
// The diagram that lives: what is open, selected, lit and searched. `paint` draws it and
// `camera` moves it. Keys: n:<op> and g:<group>.
(() => {
const RV = globalThis.RV = globalThis.RV || {};
const {el} = RV;

// The ids a drawn op stands for, in order; ids of the others then lead to it, too.
RV.folded = (folds, order, opByName) => {
  const first = order.map((_, i) => i), members = new Map();
  for (const [start, size, count] of folds) for (let i = start + size; i < start + size * count; i++) first[i] = start + (i - start) % size;
  if (folds.length) order.forEach((id, i) => {
    let at = i;
    while (first[at] !== at) at = first[at];
    const drawn = order[at];
    members.set(drawn, [...(members.get(drawn) || []), id]);
    if (opByName.has(drawn)) opByName.set(id, opByName.get(drawn));
  });
  for (const [id, all] of members) if (all.length === 1) members.delete(id);
  return members;
};

RV.diagram = (svg, data, {order = [], onHover = () => {}, onSelect = () => {}, onLayout = () => {}} = {}) => {
const {nodes, groups, blocks} = data;
const opByName = new Map(nodes.map((node, i) => [node.id, i]));
const members = RV.folded(data.folds || [], order, opByName);
const groupByName = new Map(groups.map((group, i) => [group.id, i]));
const opened = groups.map(() => false);
const items = new Map();
const look = {river: !!data.river};
const paint = RV.painter(data, members, look);
let layout = null, level = 'blocks', selected = null, wanted = '', lit = new Set();
svg.classList.add('rv-diagram');
svg.replaceChildren();
const view = el('g', {class: 'view'}, svg);
const camera = RV.camera(svg, view, () => layout, rect => {
  groups.forEach((group, i) => {
    const box = layout.groups[i];
    if (!box) return;
    if (group.tint != null) rect(box, `stage-${group.tint}`);
    else if (group.block != null) rect(box, blocks[group.block].family + (box.open ? '' : '-line'));
    else if (!box.open) rect(box, 'group-line');
  });
  nodes.forEach((node, i) => { if (layout.nodes[i]) rect(layout.nodes[i], node.note ? 'raised' : 'edge'); });
});

// --- keys -----------------------------------------------------------------------------
const chain = i => { const out = []; for (let g = nodes[i].group; g >= 0; g = groups[g].parent) out.unshift(g); return out; };
const keyAt = i => { for (const g of chain(i)) if (!opened[g]) return 'g:' + groups[g].id; return 'n:' + nodes[i].id; };
const keyOf = op => (opByName.has(op) ? keyAt(opByName.get(op)) : null);
const groupOf = key => groupByName.get(String(key).startsWith('g:') ? key.slice(2) : key);
const opsOf = key => {
  if (key == null) return [];
  const g = groups[groupOf(key)];
  const drawn = String(key).startsWith('n:') ? [key.slice(2)] : g ? nodes.slice(g.low, g.high).map(node => node.id) : [];
  return members.size ? drawn.flatMap(op => members.get(op) || [op]) : drawn;
};

// What stands for an op that is not drawn, as an id; itself where it is.
const standIn = op => nodes[opByName.get(op)]?.id ?? op;

// --- drawing --------------------------------------------------------------------------
const aspect = () => { const r = svg.getBoundingClientRect(); return r.width && r.height ? r.width / r.height : 1.6; };
const draw = limit => {
  const focused = document.activeElement?.dataset?.key;
  layout = RV.layout(data, opened, {aspect: aspect(), limit});
  items.clear();
  const layer = el('g', {});
  paint(layout, items, layer);
  view.replaceChildren(...layer.childNodes);
  if (wanted) search(wanted);
  if (selected != null && !items.has(selected)) selected = keyOf(opsOf(selected)[0]);
  items.get(selected)?.classList.add('sel');
  items.get(focused)?.focus();
  highlight([...lit]);
  camera.apply();
  onLayout(layout);
};
const boxOf = key => (String(key).startsWith('n:') ? layout.nodes[opByName.get(key.slice(2))] : layout.groups[groupOf(key)]);

// --- open and close -------------------------------------------------------------------
const set = (key, open) => {
  const g = groupOf(key);
  if (g == null || opened[g] === open) return;
  const before = boxOf(key);
  opened[g] = open;
  draw(layout.limit);
  camera.keep(before, boxOf(key));
};
// Opens the boxes around what stands for an op that is not drawn itself.
const unfold = op => {
  if (standIn(op) !== op) for (const g of chain(opByName.get(op))) set('g:' + groups[g].id, true);
};
const toggle = key => { const g = groupOf(key); if (g != null) set(key, !opened[g]); };
const setLevel = name => {
  level = name in data.open ? name : level;
  data.open[level].forEach((open, i) => { opened[i] = !!open; });
  draw(0);
};

// --- marks of the reader --------------------------------------------------------------
const highlight = ops => {
  for (const g of svg.querySelectorAll('.item.hl')) g.classList.remove('hl');
  lit = new Set(ops);
  for (const op of lit) items.get(keyOf(op))?.classList.add('hl');
};
const select = key => {
  items.get(selected)?.classList.remove('sel');
  selected = key;
  items.get(key)?.classList.add('sel');
};
const search = words => {
  wanted = words.trim().toLowerCase();
  svg.classList.toggle('searching', !!wanted);
  const hits = new Set();
  let count = 0;
  nodes.forEach((node, i) => {
    const called = (members.get(node.id) || [node.id]).filter(id => !wanted || id.toLowerCase().includes(wanted)).length;
    const found = node.label.toLowerCase().includes(wanted) ? (members.get(node.id) || [node.id]).length : called;
    if (found) { count += found; hits.add(keyAt(i)); }
  });
  for (const [key, g] of items) g.classList.toggle('dim', !!wanted && !hits.has(key) && g.getAttribute('aria-expanded') !== 'true');
  return wanted ? count : nodes.length;
};

// --- hands ----------------------------------------------------------------------------
svg.addEventListener('click', event => {
  if (camera.dragged()) return;
  const bar = event.target.closest('[data-toggle]'), g = event.target.closest('[data-key]');
  if (bar) { toggle(bar.dataset.toggle); return; }
  select(g ? g.dataset.key : null);
  onSelect(selected);
});
svg.addEventListener('dblclick', event => {
  const g = event.target.closest('[data-key]');
  if (g && !event.target.closest('[data-toggle]')) toggle(g.dataset.key);
});
let over = null;
const point = key => {
  if (key === over) return;
  over = key;
  highlight(key == null ? [] : opsOf(key));
  onHover(key == null ? [] : [key]);
};
svg.addEventListener('pointerover', event => {
  const g = event.target.closest('[data-key]');
  // The ground of an open box is no thing to point at: all it holds would light up.
  const ground = g?.getAttribute('aria-expanded') === 'true' && !event.target.closest('[data-toggle]');
  if (!camera.touched()) point(g && !ground ? g.dataset.key : null);
});
svg.addEventListener('pointerleave', () => point(null));
svg.addEventListener('focusin', event => { const key = event.target.dataset?.key; if (key) point(key); });
const KEYS = {
  '+': () => camera.zoom(1.2), '=': () => camera.zoom(1.2), '-': () => camera.zoom(1 / 1.2), '0': camera.fit,
  ArrowLeft: () => camera.by(60, 0), ArrowRight: () => camera.by(-60, 0),
  ArrowUp: () => camera.by(0, 60), ArrowDown: () => camera.by(0, -60),
};
svg.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.target.dataset?.key;
  if (key && (event.key === 'Enter' || event.key === ' ')) {
    if (key.startsWith('g:') && event.key === 'Enter') toggle(key);
    select(items.has(key) ? key : null);
    onSelect(selected);
  } else if (KEYS[event.key]) KEYS[event.key]();
  else return;
  event.preventDefault();
});
addEventListener('beforeprint', camera.fit);

return {
  setLevel, setRiver: on => { look.river = on; draw(layout.limit); }, toggle, expand: key => set(key, true), collapse: key => set(key, false),
  highlight, select, unfold, standIn, keyOf, opsOf, search,
  reveal: op => camera.reveal(boxOf(keyOf(op))), center: op => camera.centre(boxOf(keyOf(op))),
  fit: camera.fit, zoom: camera.zoom, minimap: camera.minimap,
};
};
})();
