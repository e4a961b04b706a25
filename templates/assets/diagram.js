'use strict';
// Paints the diagram into an SVG and lets people move, open and search it. The marks
// (classes and data attributes) are those of the static picture. Keys: n:<op> and g:<group>.
(() => {
const RV = globalThis.RV = globalThis.RV || {};
const NS = 'http://www.w3.org/2000/svg', ARROW = 7;
const n2 = v => Math.round(v * 100) / 100;

const el = (name, attributes, parent) => {
  const node = document.createElementNS(NS, name);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  parent?.append(node);
  return node;
};
const text = (css, x, y, words, parent) => { el('text', {class: css, x: n2(x), y: n2(y)}, parent).textContent = words; };
const tip = (words, parent) => { el('title', {}, parent).textContent = words; };
const si = v => {
  for (const [scale, unit] of [[1e12, ' T'], [1e9, ' G'], [1e6, ' M'], [1e3, ' k']]) {
    if (Math.abs(v) >= scale * 0.9995) return Number((v / scale).toPrecision(3)) + unit;
  }
  return String(v ?? 0);
};
const sci = v => (v === 0 ? '0' : v >= 1e-3 && v < 1e4 ? String(Number(v.toPrecision(3))) : v.toExponential(2));

const way = (points, shorten = 0, radius = 8) => {
  const pts = points.map(p => [...p]), [x0, y0] = pts.at(-2), [x1, y1] = pts.at(-1);
  const length = Math.abs(x1 - x0) + Math.abs(y1 - y0);
  if (shorten && length > shorten) pts[pts.length - 1] = [x1 - (x1 - x0) / length * shorten, y1 - (y1 - y0) / length * shorten];
  let d = `M${n2(pts[0][0])},${n2(pts[0][1])}`;
  for (let i = 1; i < pts.length - 1; i++) {
    const [ax, ay] = pts[i - 1], [bx, by] = pts[i], [cx, cy] = pts[i + 1];
    const before = Math.abs(ax - bx) + Math.abs(ay - by), behind = Math.abs(cx - bx) + Math.abs(cy - by);
    const k = Math.min(radius, before / 2, behind / 2);
    if (k < 0.5) { d += `L${n2(bx)},${n2(by)}`; continue; }
    d += `L${n2(bx + (ax - bx) / before * k)},${n2(by + (ay - by) / before * k)}`;
    d += `Q${n2(bx)},${n2(by)} ${n2(bx + (cx - bx) / behind * k)},${n2(by + (cy - by) / behind * k)}`;
  }
  return d + `L${n2(pts.at(-1)[0])},${n2(pts.at(-1)[1])}`;
};
const head = (points, size) => {
  const [x0, y0] = points.at(-2), [x, y] = points.at(-1), length = Math.abs(x - x0) + Math.abs(y - y0) || 1;
  const ux = (x - x0) / length, uy = (y - y0) / length, bx = x - ux * size, by = y - uy * size, half = size * 0.48;
  return `M${n2(x)},${n2(y)}L${n2(bx - uy * half)},${n2(by + ux * half)}L${n2(bx + uy * half)},${n2(by - ux * half)}Z`;
};

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
const {nodes, groups, skips, blocks, plans} = data;
const opByName = new Map(nodes.map((node, i) => [node.id, i]));
const members = RV.folded(data.folds || [], order, opByName);
const groupByName = new Map(groups.map((group, i) => [group.id, i]));
const opened = groups.map(() => false);
const items = new Map();
let river = !!data.river;
let layout = null, level = 'blocks', selected = null, wanted = '', lit = new Set(), canvas = null;
let K = 1, TX = 0, TY = 0;
svg.classList.add('rv-diagram');
svg.replaceChildren();
const view = el('g', {class: 'view'}, svg);

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

// --- words ----------------------------------------------------------------------------
const macsText = ({macs, uncounted}) => !uncounted ? si(macs) : macs ? `${si(macs)} + ?` : '?';
const inCopies = ({of, times}) => (of || times ? ` in ${(of || times).toLocaleString('en')} copies` : '');
const nodeTip = node => [
  node.id, `${node.label} → ${node.note || node.shape || ''}`,
  node.params && `${node.params.toLocaleString('en')} parameters${inCopies(node)}`, node.macs != null && `${macsText(node)} MACs${inCopies(node)}`,
  node.l2 != null && `‖∇‖₂ ${sci(node.l2)} · rms ${sci(node.rms)}`,
  node.spread && `‖∇‖₂ ${node.spread.map(sci).join(' … ')}${inCopies(node)}`, node.told,
].filter(Boolean).join('\n');
const groupTip = group => [
  group.type_name ? `${group.id} (${group.type_name})` : group.id,
  `${group.params.toLocaleString('en')} parameters · ${macsText(group)} MACs${inCopies(group)}`,
  group.block != null && `${group.title_kind} · squeeze ${Number(group.squeeze.toPrecision(3))}`, group.told,
].filter(Boolean).join('\n');
const skipTip = skip => `${skip.kind} skip\n${skip.fork} → ${skip.join}` +
  (skip.share == null ? '' : `\n${(skip.share * 100).toFixed(1)} % of the fork's gradient`) +
  (skip.shares ? ` on average, ${skip.shares.map(v => `${(v * 100).toFixed(1)} %`).join(' … ')}${inCopies(skip)}` : '') + (skip.told ? `\n${skip.told}` : '');

// --- marks ----------------------------------------------------------------------------
const blockMarks = k => {
  const b = blocks[k];
  return {'data-block-kind': b.kind, 'data-module': b.module, 'data-join': b.join, 'data-squeeze': Number(b.squeeze.toPrecision(6))};
};
// Lines as wide as the gradient they carry; what pulls against the whole is an outline.
const widthOf = amount => Math.min(12, Math.max(1, 8 * Math.abs(amount)));
const headSize = width => ARROW + 0.8 * Math.max(0, width - 1.3);
const percent = share => `${(share * 100).toFixed(1)} %`;
const core = (against, width, d, parent) => { if (against) el('path', {class: 'hollow', 'stroke-width': n2(Math.max(0.4, width - 2.4)), d}, parent); };
const stream = (css, width, d, against, parent) => {
  const path = el('path', {class: `river ${css}${against ? ' against' : ''}`, 'stroke-width': n2(width), d}, parent);
  core(against, width, d, parent);
  return path;
};
const skipWidth = skip => (river || !data.river ? skip.width : 2.4);
const skipMark = (k, d, scale, parent) => {
  const skip = skips[k], against = river && skip.against;
  const path = el('path', {
    class: `skip k-${skip.kind}${against ? ' against' : ''}`, d, 'stroke-width': n2(skipWidth(skip) * scale),
    'data-skip-kind': skip.kind, 'data-fork': skip.fork, 'data-join': skip.join,
  }, parent);
  if (skip.share != null) path.setAttribute('data-share', Number(skip.share.toPrecision(6)));
  tip(skipTip(skip), path);
  core(against, skip.width * scale, d, parent);
};
const shade = (item, name) => (item.c == null ? '' : ` ${name}-${item.c}`);
const sign = (item, parent) => {
  if (!item.sign) return;
  el('path', {class: `sign ${item.sign > 0 ? 'plus' : 'minus'}`, d: 'M-6.5,0a6.5,6.5 0 1 0 13,0a6.5,6.5 0 1 0 -13,0Z'}, parent);
  el('path', {class: 'sign-line', d: item.sign > 0 ? 'M-3.5,0H3.5M0,-3.5V3.5' : 'M-3.5,0H3.5'}, parent);
};
const face = group => (group.block != null ? `block f-${blocks[group.block].family}` : group.tint != null ? `stage tint-${group.tint}` : '');
// A box that stands for several: the cards behind it lie inside its size, the lowest first.
const inset = group => (group.times ? data.metrics.cards : 0);
const cardFace = group => `card ${face(group).replace('block ', '')}`.trim();
const cards = (group, box, parent) => {
  const room = inset(group);
  for (const at of room ? [room, room / 2] : []) {
    el('rect', {class: cardFace(group), x: n2(at), y: n2(at), width: n2(box.w - room), height: n2(box.h - room), rx: 10}, parent);
  }
};
// One sees through an open box: of its cards there is only what stands out.
const cardLines = (group, box, parent) => {
  const room = inset(group);
  for (const at of room ? [room, room / 2] : []) {
    const d = `M${n2(box.x + at + 6)},${n2(box.y + box.h - room + at)}H${n2(box.x + box.w - room + at - 12)}a12,12 0 0 0 12,-12V${n2(box.y + at + 6)}`;
    el('path', {class: `${cardFace(group)} card-line`, d}, parent);
  }
};
const gradient = (item, h, r, parent) => {
  if (item.g == null) return;
  const q = r - 0.5;
  el('path', {class: `grad grad-${item.g}`, d: `M6,0.5H${r}a${q},${q} 0 0 0 ${-q},${q}V${n2(h - r)}a${q},${q} 0 0 0 ${q},${q}H6Z`}, parent);
};

const paint = {
  p: (s, g) => el('path', {class: s[1], d: s[2]}, g),
  t: (s, g) => text(s[1], s[2], s[3], s[4], g),
  s: (s, g) => { skipMark(s[1], s[2], s[4], g); el('path', {class: `arrow-${skips[s[1]].kind}`, d: s[3]}, g); },
  w: (s, g) => {
    const skip = skips[s[1]];
    if (river) stream('branch', skip.branch, s[2], skip.drains, g); else el('path', {class: 'wire', d: s[2]}, g);
  },
  b: (s, g) => {
    const b = blocks[s[1]], path = el('path', {class: `block mini f-${b.family}`, d: s[2], ...blockMarks(s[1])}, g);
    tip(`${b.module}\n${b.kind} · squeeze ${Number(b.squeeze.toPrecision(3))}`, path);
  },
};
const item = (key, label, attributes, parent) => {
  const g = el('g', {...attributes, tabindex: 0, role: 'button', 'aria-label': label, 'data-key': key}, parent);
  items.set(key, g);
  return g;
};
const openGroup = (group, box, layer) => {
  const g = item('g:' + group.id, `${group.title}, open`, {class: 'item group', 'data-group': group.id, 'aria-expanded': true}, layer);
  tip(groupTip(group), g);
  cardLines(group, box, g);
  el('rect', {
    class: `box open face ${face(group)}`, x: n2(box.x), y: n2(box.y), width: n2(box.w - inset(group)), height: n2(box.h - inset(group)), rx: 12,
    ...(group.block == null ? {} : blockMarks(group.block)),
  }, g);
  const bar = el('g', {class: 'toggle', 'data-toggle': group.id}, g);
  el('rect', {class: 'hit', x: n2(box.x), y: n2(box.y), width: n2(group.tw + 18), height: 28}, bar);
  el('path', {class: 'caret', d: `M${n2(box.x + 12)},${n2(box.y + 12.5)}h8l-4,5.5Z`}, bar);
  text('group-title', box.x + 25, box.y + 19, group.title, bar);
  if (!group.badge) return;
  const badge = el('g', {transform: `translate(${n2(box.x)} ${n2(box.y)})`}, bar);
  for (const shape of group.badge) paint[shape[0]](shape, badge);
};
const closedGroup = (group, box, layer) => {
  const g = item('g:' + group.id, `${group.title}, closed`, {
    class: 'item group', 'data-group': group.id, 'aria-expanded': false, transform: `translate(${n2(box.x)} ${n2(box.y)})`,
  }, layer);
  tip(groupTip(group), g);
  cards(group, box, g);
  el('rect', {class: `box face ${face(group)}${shade(group, 'relbox')}`, width: n2(box.w - inset(group)), height: n2(box.h - inset(group)), rx: 10, ...(group.block == null ? {} : blockMarks(group.block))}, g);
  gradient(group, box.h - inset(group), 10, g);
  const bar = el('g', {class: 'toggle', 'data-toggle': group.id}, g);
  el('rect', {class: 'hit', width: 26, height: 28}, bar);
  el('path', {class: 'caret', d: 'M13,10.5v9l6,-4.5Z'}, bar);
  for (const shape of group.glyph) paint[shape[0]](shape, g);
  sign(group, g);
};
const drawNode = (node, box, layer) => {
  const g = item('n:' + node.id, [node.label, node.id, node.note].filter(Boolean).join(', '), {class: 'item node', 'data-op': node.id, transform: `translate(${n2(box.x)} ${n2(box.y)})`}, layer);
  tip(nodeTip(node), g);
  if (node.block != null) {
    el('rect', {class: `block ring f-${blocks[node.block].family}`, x: -4, y: -4, width: n2(box.w + 8), height: n2(box.h + 8), rx: 11, ...blockMarks(node.block)}, g);
  }
  el('rect', {class: `op face ${node.kind}${shade(node, 'rel')}`, width: n2(box.w), height: n2(box.h), rx: 7}, g);
  gradient(node, box.h, 7, g);
  if (node.note) {
    el('rect', {class: 'raised-ring', x: 3, y: 3, width: n2(box.w - 6), height: n2(box.h - 6), rx: 5}, g);
    text('op-text raised-text', box.w / 2, box.h / 2 - 3.5, node.label, g);
    text('op-note', box.w / 2, box.h / 2 + 13, node.note, g);
  } else text('op-text', box.w / 2, box.h / 2 + 4.2, node.label, g);
  sign(node, g);
};
const drawRoutes = layer => {
  const marked = [];
  for (const route of layout.routes) {
    const [from, , , , marks, part, plain, amount, branch] = plans[route.plan].edges[route.edge];
    if (marks.length) { marked.push([route, marks]); continue; }
    const kind = part >= 0 && !plain ? skips[part].kind : '';
    if (river && amount != null) {
      const width = widthOf(amount), size = headSize(width), shortcut = kind && branch, name = branch ? 'branch' : 'trunk';
      // It leaves the trunk at its side, and does not cover it.
      const points = shortcut && from === -1 && route.points.length > 3 ? route.points.slice(1) : route.points;
      const path = stream(shortcut ? `k-${kind}` : name, width, way(points, route.arrow ? size - 1 : 0), amount < 0, layer);
      tip(`${percent(amount)} of ${data.colouring?.stream || 'the gradient'}`, path);
      if (route.arrow) el('path', {class: `arrow-${shortcut ? kind : name}`, d: head(route.points, size)}, layer);
      continue;
    }
    el('path', {class: kind ? `skip-part k-${kind}` : 'edge', d: way(route.points, route.arrow ? ARROW - 1 : 0)}, layer);
    if (route.arrow) el('path', {class: kind ? `arrow-${kind}` : 'arrow', d: head(route.points, ARROW)}, layer);
  }
  for (const [route, marks] of marked) for (const k of marks) {
    const size = ARROW + skipWidth(skips[k]), points = route.points.length > 3 ? route.points.slice(1) : route.points;
    skipMark(k, way(points, route.arrow ? size - 1 : 0), 1, layer);
    if (route.arrow) el('path', {class: `arrow-${skips[k].kind}`, d: head(route.points, size)}, layer);
  }
};

// --- drawing --------------------------------------------------------------------------
const aspect = () => { const r = svg.getBoundingClientRect(); return r.width && r.height ? r.width / r.height : 1.6; };
const draw = limit => {
  const focused = document.activeElement?.dataset?.key;
  layout = RV.layout(data, opened, {aspect: aspect(), limit});
  items.clear();
  const layer = el('g', {});
  groups.forEach((group, i) => { const box = layout.groups[i]; if (box?.open) openGroup(group, box, layer); });
  drawRoutes(layer);
  groups.forEach((group, i) => { const box = layout.groups[i]; if (box && !box.open) closedGroup(group, box, layer); });
  nodes.forEach((node, i) => { const box = layout.nodes[i]; if (box) drawNode(node, box, layer); });
  view.replaceChildren(...layer.childNodes);
  if (wanted) search(wanted);
  if (selected != null && !items.has(selected)) selected = keyOf(opsOf(selected)[0]);
  items.get(selected)?.classList.add('sel');
  items.get(focused)?.focus();
  highlight([...lit]);
  apply();
  onLayout(layout);
};
const apply = () => {
  view.setAttribute('transform', `translate(${n2(TX)} ${n2(TY)}) scale(${Math.round(K * 1e5) / 1e5})`);
  if (canvas) map();
};
const fit = () => {
  const r = svg.getBoundingClientRect();
  if (!layout || !r.width) return;
  K = Math.min((r.width - 16) / layout.w, (r.height - 16) / layout.h, 1.5);
  TX = (r.width - layout.w * K) / 2;
  TY = (r.height - layout.h * K) / 2;
  apply();
};
const zoomAt = (f, x, y) => {
  const k = Math.max(0.02, Math.min(6, K * f));
  TX = x - (x - TX) * k / K;
  TY = y - (y - TY) * k / K;
  K = k;
  apply();
};
const zoom = f => { const r = svg.getBoundingClientRect(); zoomAt(f, r.width / 2, r.height / 2); };
const boxOf = key => (String(key).startsWith('n:') ? layout.nodes[opByName.get(key.slice(2))] : layout.groups[groupOf(key)]);
const centerKey = key => {
  const box = boxOf(key), r = svg.getBoundingClientRect();
  if (!box) return;
  TX = r.width / 2 - (box.x + box.w / 2) * K;
  TY = r.height / 2 - (box.y + Math.min(box.h / 2, r.height / K / 3)) * K;
  apply();
};

// The op in the middle and large enough to read, unless all of the drawing is.
const reveal = op => { if (K < 0.6) { K = 0.8; centerKey(keyOf(op)); } };

// --- open and close -------------------------------------------------------------------
const set = (key, open) => {
  const g = groupOf(key);
  if (g == null || opened[g] === open) return;
  const before = boxOf(key);
  opened[g] = open;
  draw(layout.limit);
  const after = boxOf(key);
  // What was clicked stays under the pointer.
  if (before && after) { TX += (before.x - after.x) * K; TY += (before.y - after.y) * K; apply(); }
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

// --- minimap --------------------------------------------------------------------------
const colour = name => getComputedStyle(svg).getPropertyValue('--' + name).trim();
const mapScale = () => Math.min((canvas.clientWidth - 4) / layout.w, (canvas.clientHeight - 4) / layout.h);
let mapDue = 0;
const map = () => { if (!mapDue) mapDue = requestAnimationFrame(() => { mapDue = 0; drawMap(); }); };
const drawMap = () => {
  const W = canvas.clientWidth, H = canvas.clientHeight, dpr = devicePixelRatio || 1;
  if (!W || !layout) return;
  if (canvas.width !== Math.round(W * dpr)) { canvas.width = Math.round(W * dpr); canvas.height = Math.round(H * dpr); }
  const r = svg.getBoundingClientRect();
  // Where all of it is in sight a map would only cover some of it.
  canvas.classList.toggle('idle', TX > -1 && TY > -1 && TX + layout.w * K < r.width + 1 && TY + layout.h * K < r.height + 1);
  const c = canvas.getContext('2d'), s = mapScale();
  c.setTransform(dpr, 0, 0, dpr, 0, 0);
  c.clearRect(0, 0, W, H);
  const rect = (box, fill) => { c.fillStyle = fill; c.fillRect(2 + box.x * s, 2 + box.y * s, Math.max(1, box.w * s), Math.max(1, box.h * s)); };
  groups.forEach((group, i) => {
    const box = layout.groups[i];
    if (!box) return;
    if (group.tint != null) rect(box, colour(`stage-${group.tint}`));
    else if (group.block != null) rect(box, colour(blocks[group.block].family + (box.open ? '' : '-line')));
    else if (!box.open) rect(box, colour('group-line'));
  });
  const edge = colour('edge'), raised = colour('raised');
  nodes.forEach((node, i) => { if (layout.nodes[i]) rect(layout.nodes[i], node.note ? raised : edge); });
  c.strokeStyle = colour('focus');
  c.lineWidth = 1.5;
  c.strokeRect(2 - TX / K * s, 2 - TY / K * s, r.width / K * s, r.height / K * s);
};
const minimap = target => {
  canvas = target;
  const go = event => {
    const s = mapScale(), r = svg.getBoundingClientRect(), m = canvas.getBoundingClientRect();
    TX = r.width / 2 - (event.clientX - m.left - 2) / s * K;
    TY = r.height / 2 - (event.clientY - m.top - 2) / s * K;
    apply();
  };
  canvas.addEventListener('pointerdown', event => { canvas.setPointerCapture(event.pointerId); go(event); });
  canvas.addEventListener('pointermove', event => { if (event.buttons) go(event); });
  new MutationObserver(map).observe(document.documentElement, {attributes: true, attributeFilter: ['class', 'data-theme']});
  if (layout) map();
};

// --- hands ----------------------------------------------------------------------------
const fingers = new Map();
let moved = 0, pinch = null;
const local = event => { const r = svg.getBoundingClientRect(); return [event.clientX - r.left, event.clientY - r.top]; };
svg.addEventListener('wheel', event => {
  event.preventDefault();
  zoomAt(Math.exp(-Math.max(-240, Math.min(240, event.deltaY * (event.deltaMode ? 16 : 1))) * 0.0016), ...local(event));
}, {passive: false});
svg.addEventListener('pointerdown', event => {
  if (event.button) return;
  fingers.set(event.pointerId, local(event));
  if (fingers.size === 1) moved = 0;
  pinch = null;
});
addEventListener('pointermove', event => {
  const from = fingers.get(event.pointerId);
  if (!from) return;
  const to = local(event);
  fingers.set(event.pointerId, to);
  if (fingers.size === 1) {
    moved += Math.abs(to[0] - from[0]) + Math.abs(to[1] - from[1]);
    if (moved < 4) return;
    TX += to[0] - from[0];
    TY += to[1] - from[1];
    apply();
  } else {
    const [a, b] = [...fingers.values()], spread = Math.hypot(a[0] - b[0], a[1] - b[1]);
    const middle = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
    if (pinch && spread) {
      TX += middle[0] - pinch.middle[0];
      TY += middle[1] - pinch.middle[1];
      zoomAt(spread / pinch.spread, ...middle);
    }
    pinch = {spread: spread || 1, middle};
    moved = 99;
  }
});
for (const name of ['pointerup', 'pointercancel']) addEventListener(name, event => { fingers.delete(event.pointerId); pinch = null; });
svg.addEventListener('click', event => {
  if (moved >= 4) return;
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
  if (!fingers.size) point(g && !ground ? g.dataset.key : null);
});
svg.addEventListener('pointerleave', () => point(null));
svg.addEventListener('focusin', event => { const key = event.target.dataset?.key; if (key) point(key); });
const KEYS = {
  '+': () => zoom(1.2), '=': () => zoom(1.2), '-': () => zoom(1 / 1.2), '0': fit,
  ArrowLeft: () => { TX += 60; apply(); }, ArrowRight: () => { TX -= 60; apply(); },
  ArrowUp: () => { TY += 60; apply(); }, ArrowDown: () => { TY -= 60; apply(); },
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
addEventListener('beforeprint', fit);

return {
  setLevel, setRiver: on => { river = on; draw(layout.limit); }, toggle, expand: key => set(key, true), collapse: key => set(key, false),
  highlight, select, reveal, unfold, standIn, center: op => centerKey(keyOf(op)), fit, zoom, keyOf, opsOf, search, minimap,
};
};
})();
