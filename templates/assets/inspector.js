'use strict';
// What is said of what is selected: where it is in the model, its costs, its block, its gradient.
(() => {
const RV = globalThis.RV = globalThis.RV || {};
const {make, button, say} = RV;

// The module an op ran in; its own name where that is the model itself.
RV.moduleOf = op => (op.includes('/') ? op.slice(0, op.lastIndexOf('/')) : op);

// `go(name)` selects a module or an op.
RV.inspector = (box, page, {title, graph, tables, go, tell}) => {
const blockByJoin = new Map(page.blocks.map(b => [b.join, b]));
const nodeOf = new Map(page.diagram.nodes.map(n => [n.id, n]));
const groupOf = new Map(Object.entries(page.groups));
let path = '', shown = null;

// A kind's word in the page's language; a name that is none of ours stays.
const named = kind => page.diagram.kinds[kind] || kind;
const skipFact = b => (b.share === '–' ? named(b.skip) : say('{skip}, carries {share} of the gradient', {skip: named(b.skip), share: b.share}));
const blockFacts = (b, many) => [
  [say('Branch'), b.path], [say('Squeeze'), b.squeeze], [many ? say('Skip of the first') : say('Skip'), skipFact(b)],
  [say('From'), b.fork, b.fork], [say('To'), b.join, b.join],
];
const copies = op => {
  const node = nodeOf.get(graph.standIn(op)), all = graph.opsOf('n:' + node?.id);
  if (!node?.times) return [];
  return [
    [say('Equal parts'), say('{i} of {n}: {first} … {last}', {i: all.indexOf(op) + 1, n: all.length, first: all[0], last: all.at(-1)})],
    [say('Drawn as'), node.id === op ? '' : node.id, node.id], [say('‖∇‖₂ in all'), node.spread?.map(v => v.toExponential(2)).join(' … ')],
  ];
};

// --- the way to it --------------------------------------------------------------------
const crumbs = () => {
  const nav = make('nav', 'crumbs'), list = make('ol');
  nav.setAttribute('aria-label', say('Module path'));
  const parts = path.split('.');
  parts.forEach((part, i) => {
    // Of a very long way its beginning and its end say where one is.
    if (parts.length > 9 && i > 2 && i < parts.length - 5) { if (i === 3) list.append(make('li', '', '…')); return; }
    const whole = parts.slice(0, i + 1).join('.'), item = make('li'), to = button('', () => go(whole));
    to.append(make('bdi', '', part));
    if (i === parts.length - 1) to.setAttribute('aria-current', 'location');
    item.append(to);
    list.append(item);
  });
  nav.append(list);
  return nav;
};
const copy = async () => {
  if (!path) return;
  try {
    await navigator.clipboard.writeText(path);
    tell(say('Copied: {path}', {path}));
  } catch {
    // Where the browser does not let a page write there, the reader's own key does.
    const text = box.querySelector('.module-path code');
    getSelection().selectAllChildren(text);
    tell(say('Selected; press Ctrl+C to copy it'));
  }
};

// On a phone it lies over the foot of the diagram, and says only the name until it is opened.
const fold = () => {
  const b = button('', () => {
    const open = box.classList.toggle('open');
    b.setAttribute('aria-expanded', open);
  }, 'fold');
  b.setAttribute('aria-label', say('All that is known of it'));
  b.setAttribute('aria-expanded', box.classList.contains('open'));
  RV.el('path', {d: 'M3.5 6 8 10.5 12.5 6'}, RV.el('svg', {viewBox: '0 0 16 16', width: 16, height: 16, class: 'icon', 'aria-hidden': true}, b));
  return b;
};

// --- what is said ---------------------------------------------------------------------
const show = (name, what, facts, key) => {
  const head = make('h3'), dl = make('dl'), row = make('p', 'module-path'), code = make('code');
  head.append(make('bdi', '', name));
  code.append(make('bdi', '', path));
  row.append(code);
  if (path) { const b = button(say('Copy'), copy, 'quiet'); b.id = 'copy-path'; b.setAttribute('aria-label', say('Copy module path')); row.append(b); }
  for (const [label, value, op] of facts) {
    if (!value || value === '–') continue;
    const dd = make('dd');
    if (op) { const ref = button('', () => go(op), 'ref'); ref.dataset.op = op; ref.append(make('bdi', '', value)); dd.append(ref); } else dd.textContent = value;
    dl.append(make('dt', '', label), dd);
  }
  const actions = make('div', 'act');
  if (key?.startsWith('g:')) actions.append(button(say('Open or close'), () => graph.toggle(key)));
  actions.append(button(say('Zoom to it'), graph.focus), button(say('Show in table'), () => tables.show(shown)));
  box.replaceChildren(fold(), ...(path ? [crumbs()] : []), head, make('p', 'what', what), ...(path ? [row] : []), dl, actions);
};
const showOp = (op, key) => {
  const found = tables.facts(op), node = nodeOf.get(graph.standIn(op));
  const [[, name], ...rest] = found.length ? found : [['', node?.label], [say('Output'), node?.shape]];
  const isWhat = n => n === tables.columns[1];
  const extra = [...copies(op), ...(blockByJoin.has(op) ? blockFacts(blockByJoin.get(op)) : [])];
  if (node?.note) extra.unshift([say('Here'), node.note]);
  path = RV.moduleOf(op);
  show(name, rest.find(([n]) => isWhat(n))?.[1] || op, [...rest.filter(([n]) => !isWhat(n)), ...extra], key);
};
const showModule = (ops, key, name) => {
  const id = name ?? key.replace(/^[a-z]:/, '');
  const module = groupOf.get(id), block = blockByJoin.get(module?.join);
  const what = [block && say('{kind} block', {kind: named(block.kind)}), module?.type].filter(Boolean).join(' · ');
  path = id;
  show(module?.copies || id || title, what || say('{n} operations', {n: ops.length}), [
    [say('Equal parts'), module?.of], [say('Each'), module?.each],
    [say('Ops'), String(ops.length)], [say('Params'), module?.params], [say('MACs'), module?.macs], [say('FLOPs'), module?.flops],
    [say('Activations'), module?.memory], [say('Saved for backward'), module?.saved], [say('Time'), module?.time],
    ...(block ? blockFacts(block, module?.copies) : []),
  ], key);
};

return {
  copy,
  path: () => path,
  show(ops, key, name) {
    shown = ops[0];
    const op = name == null && (ops.length === 1 ? ops[0] : String(key).startsWith('n:') ? key.slice(2) : null);
    if (op) showOp(op, key); else showModule(ops, key ?? '', name);
  },
  clear() {
    path = '';
    shown = null;
    box.replaceChildren(make('p', 'what', say('Nothing is selected. Select a box, a bar or a row to see what it costs and where it is.')));
  },
};
};
})();
