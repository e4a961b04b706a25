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

RV.diagram = (svg, data, {order = [], onHover = () => {}, onSelect = () => {}, onLayout = () => {}, onFull = () => {}} = {}) => {
const {nodes, groups, blocks} = data;
const opByName = new Map(nodes.map((node, i) => [node.id, i]));
const members = RV.folded(data.folds || [], order, opByName);
const groupByName = new Map(groups.map((group, i) => [group.id, i]));
const opened = groups.map(() => false);
const budget = RV.budget(data, opened), walk = RV.walk(data, opened);
const items = new Map();
const look = {river: !!data.river};
const paint = RV.painter(data, members, look);
let layout = null, level = 'blocks', selected = null, wanted = '', lit = new Set();
svg.classList.add('rv-diagram');
let still = Number(svg.querySelector('.still')?.dataset.limit) || 0;
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
// The drawing that the page came with stays, unless another fits this window far better.
const begin = () => {
  const limit = still, room = aspect(), scale = ({w, h}) => Math.min(room / w, 1 / h);
  still = 0;
  if (limit && scale(RV.layout(data, opened, {aspect: room, limit})) > 0.8 * scale(RV.layout(data, opened, {aspect: room}))) return limit;
  return 0;
};
// With `keep`, what stands before an opened box stays where it is.
const draw = (limit, keep = null) => {
  const focused = svg.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  layout = RV.layout(data, opened, {aspect: aspect(), limit, keep});
  items.clear();
  const layer = el('g', {});
  paint(layout, items, layer);
  view.replaceChildren(...layer.childNodes);
  if (wanted) search(wanted);
  if (selected != null && !items.has(selected)) selected = keyOf(opsOf(selected)[0]);
  items.get(selected)?.classList.add('sel');
  rove();
  if (focused != null) (items.get(focused) || items.get(selected))?.focus({preventScroll: true});
  highlight([...lit]);
  camera.apply();
  onLayout(layout);
};
const boxOf = key => (String(key).startsWith('n:') ? layout.nodes[opByName.get(key.slice(2))] : layout.groups[groupOf(key)]);

// --- open and close -------------------------------------------------------------------
const change = (key, act) => {
  const before = boxOf(key);
  const closed = act();
  draw(layout.limit, layout);
  // What stands before the box stands still, on the screen too, unless others had to close.
  if (closed) camera.keep(before, boxOf(key));
  onFull(closed ? {closed} : null);
};
const set = (key, open) => {
  const g = groupOf(key);
  if (g == null || opened[g] === open) return;
  change('g:' + groups[g].id, () => { if (open) return budget.open(g); opened[g] = false; return 0; });
};
// Opens all that is around an op, or around a box.
const unfold = key => {
  const i = opByName.get(key), g = i == null ? groups[groupByName.get(key)]?.parent : nodes[i].group;
  if (g == null || g < 0 || [...ancestors(g)].every(p => opened[p])) return;
  change(keyAround(g), () => budget.open(g));
};
const ancestors = function* (g) { for (; g >= 0; g = groups[g].parent) yield g; };
// The outermost closed box around: it stays where it is while it opens.
const keyAround = g => 'g:' + groups[[...ancestors(g)].filter(p => !opened[p]).at(-1)].id;
const toggle = key => { const g = groupOf(key); if (g != null) set(key, !opened[g]); };
const setLevel = name => {
  level = name in data.open ? name : level;
  budget.level(data.open[level], opByName.get(opsOf(selected)[0]) ?? 0);
  draw(begin());
  const drawn = budget.drawn();
  // Only what there was no room for is told; what a level leaves closed is meant to be.
  const left = groups.some((group, g) => data.open[level][g] && !opened[g] && (group.parent < 0 || opened[group.parent]));
  onFull(left ? {drawn, all: nodes.length} : null);
};

// Formulas or shapes on the ways; what is selected stays where it is.
const write = (name, on) => {
  const before = selected == null ? null : boxOf(selected);
  RV.written(data, name, on);
  draw(layout.limit);
  if (before) camera.keep(before, boxOf(selected));
};

// --- marks of the reader --------------------------------------------------------------
const highlight = ops => {
  for (const g of svg.querySelectorAll('.item.hl')) g.classList.remove('hl');
  lit = new Set(ops);
  for (const op of lit) items.get(keyOf(op))?.classList.add('hl');
};
// One of the drawn things is reached by Tab; arrows go on from there.
let roving = null;
const rove = () => {
  roving?.setAttribute('tabindex', -1);
  roving = items.get(selected) || items.values().next().value;
  roving?.setAttribute('tabindex', 0);
};
const select = key => {
  items.get(selected)?.classList.remove('sel');
  selected = key;
  items.get(key)?.classList.add('sel');
  rove();
};
const search = words => {
  wanted = words.trim().toLowerCase();
  svg.classList.toggle('searching', !!wanted);
  const keys = new Set();
  nodes.forEach((node, i) => { if (wanted && found(node).length) keys.add(keyAt(i)); });
  for (const [key, g] of items) g.classList.toggle('dim', !!wanted && !keys.has(key) && g.getAttribute('aria-expanded') !== 'true');
  return wanted ? matches().length : nodes.length;
};
// Ids of all ops that are called so or have it written upon them, in the order they ran.
const found = node => {
  const all = members.get(node.id) || [node.id];
  return node.label.toLowerCase().includes(wanted) ? all : all.filter(id => id.toLowerCase().includes(wanted));
};
const place = new Map(order.map((id, i) => [id, i]));
const matches = () => {
  const hits = wanted ? nodes.flatMap(found) : [];
  return members.size ? hits.sort((a, b) => (place.get(a) ?? 1e9) - (place.get(b) ?? 1e9)) : hits;
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
  onHover(key == null ? [] : opsOf(key));
};
svg.addEventListener('pointerover', event => {
  const g = event.target.closest('[data-key]'), skip = event.target.closest('.skip');
  if (skip && !g && !camera.touched()) { over = null; onHover([skip.dataset.fork, skip.dataset.join]); return; }
  // The ground of an open box is no thing to point at: all it holds would light up.
  const ground = g?.getAttribute('aria-expanded') === 'true' && !event.target.closest('[data-toggle]');
  if (!camera.touched()) point(g && !ground ? g.dataset.key : null);
});
svg.addEventListener('pointerleave', () => point(null));
svg.addEventListener('focusin', event => { const key = event.target.dataset?.key; if (key) point(key); });
// Along the way of the data, against it, and across it; a drawing from left to right is turned.
const ACROSS = data.direction === 'LR';
const WAYS = ACROSS
  ? {ArrowRight: true, ArrowLeft: false, ArrowDown: 1, ArrowUp: -1} : {ArrowDown: true, ArrowUp: false, ArrowRight: 1, ArrowLeft: -1};
const PAN = {ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60]};
const middle = key => { const {x, y, w, h} = boxOf(key); return ACROSS ? [y + h / 2, x + w / 2] : [x + w / 2, y + h / 2]; };
// The nearest on that side: of what leaves the same fork or meets at the same join, else of all.
const sideways = side => {
  const [x, y] = middle(selected), near = walk.beside(selected);
  const ranked = [...items.keys()].filter(key => key !== selected && items.get(key).getAttribute('aria-expanded') !== 'true')
    .map(key => [key, ...middle(key)]).filter(([, ox]) => (ox - x) * side > 1)
    .map(([key, ox, oy]) => [!near.has(key), Math.abs(ox - x) + 3 * Math.abs(oy - y), key]);
  return ranked.sort((a, b) => a[0] - b[0] || a[1] - b[1])[0]?.[2];
};
const step = name => {
  const way = WAYS[name], to = typeof way === 'number' ? sideways(way) : walk.next(selected, way).find(key => items.has(key));
  if (to != null) go(to);
};
const go = key => {
  select(items.has(key) ? key : null);
  items.get(key)?.focus({preventScroll: true});
  if (selected != null) camera.bring(boxOf(selected));
  onSelect(selected);
};
const KEYS = {'+': () => camera.zoom(1.2), '=': () => camera.zoom(1.2), '-': () => camera.zoom(1 / 1.2), '0': camera.fit};
svg.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.target.dataset?.key ?? selected;
  if (key != null && (event.key === 'Enter' || event.key === ' ')) {
    const around = walk.around(key);
    if (event.key === ' ' || !items.has(key)) go(key);
    else if (key.startsWith('g:')) { toggle(key); go(key); } else if (around) go(around);
  } else if (event.key in PAN) {
    if (selected == null) camera.by(...PAN[event.key]); else step(event.key);
  } else if (Object.hasOwn(KEYS, event.key)) KEYS[event.key]();
  else return;
  event.preventDefault();
});

return {
  setLevel, setRiver: on => { look.river = on; draw(layout.limit); }, write, repaint: () => draw(layout.limit), toggle, expand: key => set(key, true), collapse: key => set(key, false),
  highlight, select, unfold, standIn, keyOf, opsOf, search, matches,
  isGroup: id => groupByName.has(id), isOp: id => opByName.has(id), selected: () => selected, layout: () => layout,
  reveal: op => camera.reveal(boxOf(keyOf(op))), center: key => camera.show(boxOf(items.has(key) ? key : keyOf(key))),
  focus: () => { if (selected != null) camera.frame(boxOf(selected)); },
  fit: camera.fit, zoom: camera.zoom, minimap: camera.minimap, whole: camera.whole,
};
};
})();
