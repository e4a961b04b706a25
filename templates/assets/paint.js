'use strict';
// Paints a layout of the diagram into SVG elements. The marks (classes and data
// attributes) are those of the static picture.
(() => {
const RV = globalThis.RV = globalThis.RV || {};
const {n2, el, text, tip, si, sci, way, head} = RV;
const ARROW = 7;

// `members` are the ids a drawn op stands for; `look` is what the reader chose: {river}.
// The answer paints a layout into a layer and fills `items`, by key.
RV.painter = (data, members, look) => {
const {nodes, groups, skips, blocks, plans} = data;
let items = null, layout = null, forks = new Map();
data.coloured ??= !!data.colouring;

// --- words ----------------------------------------------------------------------------
const macsText = ({macs, uncounted}) => !uncounted ? si(macs) : macs ? `${si(macs)} + ?` : '?';
const named = kind => data.kinds[kind] || kind;
const inCopies = (what, {of, times}) => (of || times ? RV.say('{what} in {n} copies', {what, n: (of || times).toLocaleString('en')}) : what);
const lines = told => told.filter(Boolean).join('\n');
const blockWords = (kind, squeeze) => RV.say('{kind} · squeeze {ratio}', {kind: named(kind), ratio: Number(squeeze.toPrecision(3))});
const nodeTip = node => lines([
  node.id, `${node.label} → ${node.note || node.shape || ''}`,
  node.params && inCopies(RV.say('{n} parameters', {n: node.params.toLocaleString('en')}), node),
  node.macs != null && inCopies(RV.say('{n} MACs', {n: macsText(node)}), node),
  node.l2 != null && RV.say('‖∇‖₂ {l2} · rms {rms}', {l2: sci(node.l2), rms: sci(node.rms)}),
  node.spread && inCopies(`‖∇‖₂ ${node.spread.map(sci).join(' … ')}`, node), node.told,
]);
const groupTip = group => lines([
  group.type_name ? `${group.id} (${group.type_name})` : group.id,
  inCopies(RV.say('{params} parameters · {macs} MACs', {params: group.params.toLocaleString('en'), macs: macsText(group)}), group),
  group.block != null && blockWords(group.title_kind, group.squeeze), group.told,
]);
const shareWords = skip => {
  if (skip.share == null) return '';
  const share = percent(skip.share);
  if (!skip.shares) return RV.say('{share} of the gradient at its fork', {share});
  const [low, high] = skip.shares.map(percent);
  return inCopies(RV.say('{share} of the gradient at its fork on average, {low} … {high}', {share, low, high}), skip);
};
const skipTip = skip => lines([RV.say('{kind} skip', {kind: named(skip.kind)}), `${skip.fork} → ${skip.join}`, shareWords(skip), skip.told]);

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
const streamTip = amount => RV.say('{share} of {whole}', {share: percent(amount), whole: data.colouring?.stream || RV.say('the gradient')});
const stream = (css, width, d, against, parent) => {
  const path = el('path', {class: `river ${css}${against ? ' against' : ''}`, 'stroke-width': n2(width), d}, parent);
  core(against, width, d, parent);
  return path;
};
const skipWidth = skip => (look.river || !data.river ? skip.width : 2.4);
const skipMark = (k, d, scale, parent) => {
  const skip = skips[k], against = look.river && skip.against;
  const path = el('path', {
    class: `skip k-${skip.kind}${against ? ' against' : ''}`, d, 'stroke-width': n2(skipWidth(skip) * scale),
    'data-skip-kind': skip.kind, 'data-fork': skip.fork, 'data-join': skip.join,
  }, parent);
  if (skip.share != null) path.setAttribute('data-share', Number(skip.share.toPrecision(6)));
  tip(skipTip(skip), path);
  core(against, skip.width * scale, d, parent);
};
const shade = (item, name) => (item.c == null ? '' : ` ${name}-${item.c}`);
const ink = item => (item.c == null ? '' : item.c >= RV.DEEP ? ' on-deep' : ' on-rel');
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
// A box is drawn upon, so its colour is pale; the bar has it as the scale does.
const barOf = (item, boxed) => (data.coloured ? boxed && item.c != null && `rel-${item.c}` : item.g != null && `grad-${item.g}`);
const sideBar = (colour, h, r, parent) => {
  if (!colour) return;
  const q = r - 0.5;
  el('path', {class: `grad ${colour}`, d: `M6,0.5H${r}a${q},${q} 0 0 0 ${-q},${q}V${n2(h - r)}a${q},${q} 0 0 0 ${q},${q}H6Z`}, parent);
};

const paint = {
  p: (s, g) => el('path', {class: s[1], d: s[2]}, g),
  t: (s, g) => text(s[1], s[2], s[3], s[4], g),
  s: (s, g) => { skipMark(s[1], s[2], s[4], g); el('path', {class: `arrow-${skips[s[1]].kind}`, d: s[3]}, g); },
  w: (s, g) => {
    const skip = skips[s[1]];
    if (look.river) stream('branch', skip.branch, s[2], skip.drains, g); else el('path', {class: 'wire', d: s[2]}, g);
  },
  b: (s, g) => {
    const b = blocks[s[1]], path = el('path', {class: `block mini f-${b.family}`, d: s[2], ...blockMarks(s[1])}, g);
    tip(`${b.module}\n${blockWords(b.kind, b.squeeze)}`, path);
  },
};
const item = (key, label, attributes, parent) => {
  const g = el('g', {...attributes, tabindex: -1, role: 'button', 'aria-label': label, 'data-key': key}, parent);
  items.set(key, g);
  return g;
};
const openGroup = (group, box, layer) => {
  const g = item('g:' + group.id, RV.say('{name}, open', {name: group.title}), {class: 'item group', 'data-group': group.id, 'aria-expanded': true}, layer);
  tip(groupTip(group), g);
  cardLines(group, box, g);
  el('rect', {
    class: `box open face ${face(group)}${group.c == null ? '' : ' unfilled'}`, x: n2(box.x), y: n2(box.y), width: n2(box.w - inset(group)), height: n2(box.h - inset(group)), rx: 12,
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
  const g = item('g:' + group.id, RV.say('{name}, closed', {name: group.title}), {
    class: `item group${group.c == null ? '' : ' toned'}`, 'data-group': group.id, 'aria-expanded': false, transform: `translate(${n2(box.x)} ${n2(box.y)})`,
  }, layer);
  tip(groupTip(group), g);
  cards(group, box, g);
  el('rect', {class: `box face ${face(group)}${shade(group, 'relbox')}`, width: n2(box.w - inset(group)), height: n2(box.h - inset(group)), rx: 10, ...(group.block == null ? {} : blockMarks(group.block))}, g);
  sideBar(barOf(group, true), box.h - inset(group), 10, g);
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
  sideBar(barOf(node, false), box.h, 7, g);
  if (node.note) {
    el('rect', {class: 'raised-ring', x: 3, y: 3, width: n2(box.w - 6), height: n2(box.h - 6), rx: 5}, g);
    text('op-text raised-text', box.w / 2, box.h / 2 - 3.5, node.label, g);
    text('op-note', box.w / 2, box.h / 2 + 13, node.note, g);
  } else text(`op-text${ink(node)}`, box.w / 2, box.h / 2 + 4.2, (data.look.formulas && node.formula) || node.label, g);
  if (node.join) el('path', {class: `joint k-${node.join}`, transform: `translate(${n2(box.w - 15)} ${n2(box.h / 2)})`, d: data.joints[node.join]}, g);
  sign(node, g);
};
// What the ways share before they part, once for all of them; then each from its fork on.
const drawStem = ({at, start, edges}, layer) => {
  const d = way([start, at]);
  if (!look.river || !edges.every(edge => edge.length > 7)) { el('path', {class: 'edge', d}, layer); return; }
  const whole = edges.reduce((sum, edge) => sum + edge[7], 0);
  tip(streamTip(whole), stream(whole > 0.999 ? 'trunk' : 'branch', widthOf(whole), d, whole < 0, layer));
};
const ownWay = ({plan, edge, points}) => {
  const fork = forks.get(`${plan},${plans[plan].edges[edge][0]}`);
  if (!fork) return points;
  return [fork.at, ...points.slice(points[1][0] === fork.at[0] && points[1][1] === fork.at[1] ? 2 : 1)];
};
const drawRoutes = layer => {
  for (const fork of forks.values()) drawStem(fork, layer);
  const marked = [];
  for (const route of layout.routes) {
    const [, , , , marks, part, plain, amount, branch] = plans[route.plan].edges[route.edge];
    if (marks.length) { marked.push([route, marks]); continue; }
    const kind = part >= 0 && !plain ? skips[part].kind : '';
    if (look.river && amount != null) {
      const width = widthOf(amount), size = headSize(width), shortcut = kind && branch, name = branch ? 'branch' : 'trunk';
      const path = stream(shortcut ? `k-${kind}` : name, width, way(ownWay(route), route.arrow ? size - 1 : 0), amount < 0, layer);
      tip(streamTip(amount), path);
      if (route.arrow) el('path', {class: `arrow-${shortcut ? kind : name}`, d: head(route.points, size)}, layer);
      continue;
    }
    el('path', {class: kind ? `skip-part k-${kind}` : 'edge', d: way(ownWay(route), route.arrow ? ARROW - 1 : 0)}, layer);
    if (route.arrow) el('path', {class: kind ? `arrow-${kind}` : 'arrow', d: head(route.points, ARROW)}, layer);
  }
  for (const [route, marks] of marked) for (const k of marks) {
    const size = ARROW + skipWidth(skips[k]);
    skipMark(k, way(ownWay(route), route.arrow ? size - 1 : 0), 1, layer);
    if (route.arrow) el('path', {class: `arrow-${skips[k].kind}`, d: head(route.points, size)}, layer);
  }
};

return (drawn, found, layer) => {
  layout = drawn;
  forks = RV.forks(data, layout);
  items = found;
  groups.forEach((group, i) => { const box = layout.groups[i]; if (box?.open) openGroup(group, box, layer); });
  drawRoutes(layer);
  groups.forEach((group, i) => { const box = layout.groups[i]; if (box && !box.open) closedGroup(group, box, layer); });
  nodes.forEach((node, i) => { const box = layout.nodes[i]; if (box) drawNode(node, box, layer); });
  const branchWidth = skip => (look.river && skip.branch) || 1.3;
  for (const shape of RV.edgeMarks(data, layout, forks, skipWidth, branchWidth)) paint[shape[0]](shape, layer);
};
};
})();
