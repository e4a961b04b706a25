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
let items = null, layout = null;

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
    if (look.river) stream('branch', skip.branch, s[2], skip.drains, g); else el('path', {class: 'wire', d: s[2]}, g);
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
    if (look.river && amount != null) {
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

return (drawn, found, layer) => {
  layout = drawn;
  items = found;
  groups.forEach((group, i) => { const box = layout.groups[i]; if (box?.open) openGroup(group, box, layer); });
  drawRoutes(layer);
  groups.forEach((group, i) => { const box = layout.groups[i]; if (box && !box.open) closedGroup(group, box, layer); });
  nodes.forEach((node, i) => { const box = layout.nodes[i]; if (box) drawNode(node, box, layer); });
};
};
})();
