'use strict';
// Joins the parts of the page: whatever speaks of one op carries its id in data-op, and
// pointing at one of them marks them all.
(() => {
const RV = globalThis.RV;
const {say, count, make} = RV;
const $ = id => document.getElementById(id);

const start = page => {
RV.words = page.words || {};
const tables = RV.tables(page);

// --- one index of everything that speaks of an op -------------------------------------
let places = new Map(), chosen = [];
const index = () => {
  places = new Map();
  const put = (op, node) => { if (places.has(op)) places.get(op).push(node); else places.set(op, [node]); };
  for (const node of document.querySelectorAll('[data-op],[data-fork]')) {
    if (node.closest('#inspector') || node.closest('#graph') && !node.matches('.skip')) continue;
    if (node.dataset.op) put(node.dataset.op, node);
    else put(node.dataset.join, node);
  }
  mark(chosen, 'sel');
};
const marked = {hl: new Set(), sel: new Set()};
const mark = (ops, name) => {
  for (const node of marked[name]) node.classList.remove(name);
  marked[name].clear();
  for (const op of ops) for (const node of places.get(op) || []) { node.classList.add(name); marked[name].add(node); }
};

// --- words over the page --------------------------------------------------------------
const tipBox = $('tip');
const tip = (lines, event) => {
  tipBox.hidden = !lines;
  if (!lines) return;
  tipBox.replaceChildren(...lines.map((line, i) => make(i ? 'span' : 'b', '', line)));
  const x = event?.clientX ?? event?.left ?? 0, y = event?.clientY ?? event?.top ?? 0;
  const box = tipBox.getBoundingClientRect();
  tipBox.style.left = Math.max(8, Math.min(x + 14, innerWidth - box.width - 8)) + 'px';
  tipBox.style.top = (y - box.height - 14 < 8 ? y + 18 : y - box.height - 14) + 'px';
};
let told = 0;
const tell = words => {
  clearTimeout(told);
  $('told').textContent = words;
  told = setTimeout(() => { $('told').textContent = ''; }, 4000);
};
const hover = (ops, lines = null, event = null) => {
  mark(ops, 'hl');
  graph.highlight(ops);
  tip(lines, event);
};

// --- selecting ------------------------------------------------------------------------
const graph = RV.diagram($('graph'), page.diagram, {
  order: tables.order,
  onHover: ops => mark(ops, 'hl'),
  onSelect: key => (key == null ? clear() : choose(graph.opsOf(key), key)),
  onLayout: () => index(),
  onFull: full => {
    $('full').textContent = !full ? '' : full.closed
      ? full.closed === 1 ? say('The box opened longest ago has closed: more would be too much to draw.')
        : say('{n} boxes opened longest ago have closed: more would be too much to draw.', {n: count(full.closed)})
      : say('{n} of {all} ops are drawn, those around the selected. Search or select to come to any other.', {n: count(full.drawn), all: count(full.all)});
  },
});
const order = tables.order.length ? tables.order : page.diagram.nodes.map(node => node.id);
const nameOf = (ops, key) => (ops.length === 1 ? ops[0] : key?.replace(/^[a-z]:/, ''));
const choose = (ops, key, name, quiet) => {
  chosen = ops;
  mark(ops, 'sel');
  inspector.show(ops, key, name);
  $('inspector').classList.remove('empty');
  if (!quiet) links.write(name ?? nameOf(ops, key));
};
const clear = () => {
  graph.select(null);
  chosen = [];
  mark([], 'sel');
  inspector.clear();
  $('inspector').classList.add('empty');
  links.write(null);
};
// Selects an op, a box or a module by its name and brings it into sight.
const go = name => {
  const boxed = !graph.isOp(name) && graph.isGroup(name);
  const inside = graph.isOp(name) ? [name] : boxed ? graph.opsOf('g:' + name)
    : order.filter(op => op.startsWith(name) && '/.'.includes(op[name.length] ?? ' '));
  if (!inside.length) return false;
  graph.unfold(boxed ? name : inside[0]);
  const key = boxed ? 'g:' + name : graph.keyOf(inside[0]);
  graph.select(key);
  graph.center(boxed ? key : inside[0]);
  choose(inside, key, boxed || inside.length === 1 ? undefined : name);
  return true;
};
const title = document.querySelector('h1').textContent;
const inspector = RV.inspector($('inspector'), page, {title, graph, tables, go, tell});
const links = RV.links(go);

// --- the diagram's tools --------------------------------------------------------------
graph.minimap($('minimap'));
// The page scrolls under the wheel; the diagram zooms where it was clicked into, or with Ctrl.
$('graph').parentElement.addEventListener('wheel', event => {
  if (!event.ctrlKey && !event.metaKey && !$('graph').contains(document.activeElement)) event.stopPropagation();
}, {capture: true});
$('graph').addEventListener('pointerdown', () => $('graph').focus({preventScroll: true}));
const level = name => {
  graph.setLevel(name);
  graph.fit();
  for (const b of document.querySelectorAll('[data-level]')) b.setAttribute('aria-pressed', String(b.dataset.level === name));
};
for (const b of document.querySelectorAll('[data-level]')) b.addEventListener('click', () => level(b.dataset.level));
level(page.collapse);
$('zoom-in').addEventListener('click', () => graph.zoom(1.25));
$('zoom-out').addEventListener('click', () => graph.zoom(0.8));
$('zoom-fit').addEventListener('click', () => graph.fit());
const switches = {
  'show-skips': on => $('graph').classList.toggle('no-skips', !on), 'show-blocks': on => $('graph').classList.toggle('no-blocks', !on),
  'show-river': on => graph.setRiver(on),
  'show-formulas': on => graph.write('formulas', on), 'show-shapes': on => graph.write('shapes', on),
};
for (const id in switches) $(id)?.addEventListener('click', event => {
  const on = event.currentTarget.getAttribute('aria-pressed') !== 'true';
  event.currentTarget.setAttribute('aria-pressed', String(on));
  switches[id](on);
});
const paintBy = RV.colours(page.diagram, page.colourings, $('scale'), moved => { graph.repaint(); if (moved) graph.fit(); });
$('colour').addEventListener('change', event => paintBy(event.target.value));

// --- chart, tables, findings, figures -------------------------------------------------
if (page.flow) RV.flowChart($('flow-chart'), page.flow, {onHover: hover, onSelect: go, onDraw: index});
index();
document.addEventListener('pointerover', event => {
  if (event.target.closest?.('#graph,#flow-chart')) return;
  const node = event.target.closest?.('[data-op]');
  hover(node ? [node.dataset.op, node.dataset.ops].filter(Boolean) : []);
});
document.addEventListener('rows', index);
document.addEventListener('focusin', event => {
  const node = event.target.closest?.('.ref[data-op]');
  if (node) hover([node.dataset.op]);
});
document.addEventListener('click', event => {
  const node = event.target.closest('[data-op]');
  if (!node || node.closest('#graph,#flow-chart,#inspector') || event.target.closest('a,button:not(.ref),summary')) return;
  if (!getSelection().isCollapsed) return;
  go(node.dataset.op);
  if (node.classList.contains('ref')) $('diagram').scrollIntoView();
});

// --- where the reader starts ----------------------------------------------------------
const raised = page.diagram.nodes.find(node => node.note);
const first = page.blocks.find(b => b.skip === 'identity') || page.blocks[0];
const begin = op => { const key = graph.keyOf(op); choose(graph.opsOf(key), key, undefined, true); graph.select(key); };
inspector.clear();
if (raised) { begin(raised.id); graph.reveal(raised.id); } else if (first) begin(first.join);
else if (page.flow?.ops.length) begin(page.flow.ops[0]);

// --- search, keys, links, files, paper ------------------------------------------------
const search = RV.search($('search'), $('matches'), {graph, tables, go});
RV.keys({
  '/': search.open, '?': RV.help($('help'), $('show-help')), f: graph.focus, c: inspector.copy,
  Escape: () => { if (!search.clear()) clear(); },
});
RV.downloads({title, tell, graph, page});
RV.paper(RV.theme($('theme')), graph);
RV.papers(document.querySelectorAll('main :is(.lead,.cite,.why,.note,.prose,.evidence,figcaption,.facts dd,.more)'));
RV.spy(document.querySelectorAll('.topbar nav a'));
if (links.read()) $('diagram').scrollIntoView();
document.documentElement.dataset.ready = '';
};

RV.read($('data')).then(start);
})();
