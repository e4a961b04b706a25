'use strict';
// Joins the parts of the page: whatever speaks of one op carries its id in data-op, and
// pointing at one of them marks them all.
(() => {
const RV = globalThis.RV;
const $ = id => document.getElementById(id);
const root = document.documentElement;

const start = page => {
RV.words = page.words || {};

const tables = RV.tables();
const make = (tag, className, content) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (content !== undefined) node.textContent = content;
  return node;
};

// --- one index of everything that speaks of an op -------------------------------------
let places = new Map();
const index = () => {
  places = new Map();
  for (const node of document.querySelectorAll('[data-op]')) {
    if (node.closest('#graph')) continue;
    places.set(node.dataset.op, [...(places.get(node.dataset.op) || []), node]);
  }
};
const marked = {hl: new Set(), sel: new Set()};
const mark = (ops, name) => {
  for (const node of marked[name]) node.classList.remove(name);
  marked[name].clear();
  for (const op of ops) for (const node of places.get(op) || []) { node.classList.add(name); marked[name].add(node); }
};

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

const hover = (ops, lines = null, event = null) => {
  mark(ops, 'hl');
  graph.highlight(ops);
  tip(lines, event);
};

// --- inspector ------------------------------------------------------------------------
const blockByJoin = new Map(page.blocks.map(b => [b.join, b]));
const nodeOf = new Map(page.diagram.nodes.map(n => [n.id, n]));
const blockFacts = (b, whose = '') => [
  ['Branch', b.path], ['Squeeze', b.squeeze], [`Skip${whose}`, `${b.skip}${b.share === '–' ? '' : `, carries ${b.share} of the gradient`}`],
  ['From', b.fork], ['To', b.join],
];
const inspect = (title, what, facts, key) => {
  const box = $('inspector');
  const dl = make('dl');
  for (const [name, value] of facts) if (value && value !== '–') dl.append(make('dt', '', name), make('dd', '', value));
  box.replaceChildren(make('h3', '', title), make('p', 'what', what), dl);
  if (key === undefined) return;
  const actions = make('div', 'act');
  const button = (name, act) => {
    const b = make('button', '', name);
    b.type = 'button';
    b.addEventListener('click', act);
    actions.append(b);
  };
  button('Open or close', () => graph.toggle(key));
  button('Show in table', () => document.querySelector(`#layers tr.sel`)?.scrollIntoView({block: 'center'}));
  box.append(actions);
};

const copies = op => {
  const node = nodeOf.get(graph.standIn(op)), all = graph.opsOf('n:' + node?.id);
  if (!node?.times) return [];
  return [
    ['Equal parts', `${all.indexOf(op) + 1} of ${all.length}: ${all[0]} … ${all.at(-1)}`],
    ['Drawn as', node.id === op ? '' : node.id], ['‖∇‖₂ in all', node.spread?.map(v => v.toExponential(2)).join(' … ')],
  ];
};
const selectOps = (ops, key) => {
  mark(ops, 'sel');
  const op = ops.length === 1 ? ops[0] : String(key).startsWith('n:') ? key.slice(2) : null;
  if (op) {
    const found = tables.facts(op), node = nodeOf.get(op);
    const [[, name], ...rest] = found.length ? found : [['', node?.label], ['Output', node?.shape]];
    const what = rest.find(([n]) => n === 'Operation')?.[1] || op;
    const extra = [...copies(op), ...(blockByJoin.has(op) ? blockFacts(blockByJoin.get(op)) : [])];
    if (node?.note) extra.unshift(['Here', node.note]);
    inspect(name, what, [...rest.filter(([n]) => n !== 'Operation'), ...extra]);
    return;
  }
  const path = String(key).replace(/^[a-z]:/, '');
  const module = page.groups[path], block = blockByJoin.get(module?.join);
  const what = [block && `${block.kind} block`, module?.type].filter(Boolean).join(' · ');
  inspect(module?.copies || path || 'model', what || `${ops.length} operations`, [
    ['Equal parts', module?.of], ['Each', module?.each],
    ['Ops', String(ops.length)], ['Params', module?.params], ['MACs', module?.macs], ['FLOPs', module?.flops], ['Activations', module?.memory], ['Saved for backward', module?.saved],
    ...(block ? blockFacts(block, module?.copies ? ' of the first' : '') : []),
  ], key);
};
const selectOp = op => {
  graph.unfold(op);
  selectOps([op], graph.keyOf(op));
  graph.select(graph.keyOf(op));
  graph.center(op);
};

// --- diagram --------------------------------------------------------------------------
const graph = RV.diagram($('graph'), page.diagram, {
  order: tables.order,
  onHover: keys => mark([...keys].flatMap(key => graph.opsOf(key)), 'hl'),
  onSelect: key => (key == null ? mark([], 'sel') : selectOps(graph.opsOf(key), key)),
  onLayout: () => {},
});
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
for (const [id, name] of [['show-skips', 'no-skips'], ['show-blocks', 'no-blocks']]) {
  $(id).addEventListener('click', event => {
    const on = event.currentTarget.getAttribute('aria-pressed') !== 'true';
    event.currentTarget.setAttribute('aria-pressed', String(on));
    $('graph').classList.toggle(name, !on);
  });
}

$('show-river')?.addEventListener('click', event => {
  const on = event.currentTarget.getAttribute('aria-pressed') !== 'true';
  event.currentTarget.setAttribute('aria-pressed', String(on));
  graph.setRiver(on);
});

// --- chart and tables -----------------------------------------------------------------
const chart = page.flow && RV.flowChart($('flow-chart'), page.flow, {onHover: hover, onSelect: selectOp, onDraw: index});
index();
document.addEventListener('pointerover', event => {
  const node = event.target.closest?.('tr[data-op],.ref[data-op]');
  if (node) hover([node.dataset.op, node.dataset.ops].filter(Boolean));
  else if (!event.target.closest?.('#graph,#flow-chart')) hover([]);
});
document.addEventListener('click', event => {
  const node = event.target.closest('tr[data-op],.ref[data-op]');
  if (!node) return;
  selectOp(node.dataset.op);
  if (node.classList.contains('ref')) $('diagram').scrollIntoView();
});

// --- where the reader starts ----------------------------------------------------------
const raised = page.diagram.nodes.find(node => node.note);
const first = page.blocks.find(b => b.skip === 'identity') || page.blocks[0];
if (raised) { selectOps([raised.id], graph.keyOf(raised.id)); graph.select(graph.keyOf(raised.id)); graph.reveal(raised.id); }
else if (first) { const key = graph.keyOf(first.join); selectOps(graph.opsOf(key), key); graph.select(key); }
else if (page.flow?.ops.length) selectOps([page.flow.ops[0]]);

// --- search ---------------------------------------------------------------------------
const search = $('search');
let hits = [], hit = -1;
const find = () => {
  const wanted = search.value.trim();
  const n = graph.search(wanted);
  hits = wanted ? tables.filter(wanted) : (tables.filter(''), []);
  hit = -1;
  $('matches').textContent = wanted ? `${n.toLocaleString('en')} ${n === 1 ? 'match' : 'matches'}` : '';
  const found = new Set(hits);
  for (const g of document.querySelectorAll('#flow-chart g[data-op]')) g.classList.toggle('off', !!wanted && !found.has(g.dataset.op));
};
search.addEventListener('input', find);
search.addEventListener('keydown', event => {
  if (event.key === 'Enter' && hits.length) {
    hit = (hit + (event.shiftKey ? hits.length - 1 : 1)) % hits.length;
    selectOp(hits[hit]);
  } else if (event.key === 'Escape') {
    search.value = '';
    find();
    search.blur();
  }
});
addEventListener('keydown', event => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName);
  if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey) { event.preventDefault(); search.focus(); search.select(); }
});

// --- theme, print, section links ------------------------------------------------------
const THEMES = {auto: 'automatic', light: 'light', dark: 'dark'};
const theme = name => {
  root.dataset.theme = name;
  $('theme').setAttribute('aria-label', `Theme: ${THEMES[name]}`);
  $('theme').title = `Theme: ${THEMES[name]}`;
};
$('theme').addEventListener('click', () => {
  const names = Object.keys(THEMES);
  theme(names[(names.indexOf(root.dataset.theme) + 1) % names.length]);
});
theme(root.dataset.theme);
let before = null;
addEventListener('beforeprint', () => { before = root.dataset.theme; theme('light'); graph.fit(); });
addEventListener('afterprint', () => { if (before) theme(before); graph.fit(); });

const links = new Map([...document.querySelectorAll('.topbar nav a')].map(a => [a.hash.slice(1), a]));
const seen = new Set();
const spy = new IntersectionObserver(entries => {
  for (const e of entries) seen[e.isIntersecting ? 'add' : 'delete'](e.target.id);
  const current = [...links.keys()].reverse().find(id => seen.has(id));
  for (const [id, a] of links) a.toggleAttribute('aria-current', id === current);
}, {rootMargin: '-70px 0px -60% 0px'});
for (const id of links.keys()) if ($(id)) spy.observe($(id));
root.dataset.ready = '';
};

RV.read($('data')).then(start);
})();
