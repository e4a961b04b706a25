'use strict';
// From a plan and a set of open boxes to coordinates: the twin of layout.py.
// Both do the same arithmetic in the same order, and a test requires equal numbers,
// so a change here is a change there.
(() => {
const RV = globalThis.RV = globalThis.RV || {};
const IN = -1, OUT = -2, LINE = 0, FORK = 1, JOIN = 2, LANE = 3;
const zeros = n => new Array(n).fill(0);

RV.layout = (data, opened, {aspect = 1.6, limit = 0} = {}) => {
  if (limit <= 0) limit = bestLimit(data, opened, aspect);
  return place(data, opened, sizes(data, opened, limit, null), limit);
};

function bestLimit(data, opened, aspect) {
  const natural = sizes(data, opened, 1e9, null), whole = natural[0];
  let best = Math.min(aspect / whole.w, 1 / whole.h), found = 1e9;
  for (let k = 2; k < 25; k++) {
    const limit = whole.h / (1 + k * 0.5);
    if (limit < 260) break;
    const box = sizes(data, opened, limit, natural)[0];
    const scale = Math.min(aspect / box.w, 1 / box.h);
    if (scale > best * 1.04) { best = scale; found = limit; }
  }
  return found;
}

function visible(data, opened) {
  const seen = [];
  for (const {parent} of data.groups) seen.push(parent < 0 || (seen[parent] && !!opened[parent]));
  return seen;
}

// What is low enough without any break (natural) stays as it is.
function sizes(data, opened, limit, natural) {
  const {groups} = data, seen = visible(data, opened);
  const boxes = new Array(groups.length + 1).fill(null);
  for (let i = groups.length - 1; i >= 0; i--) {
    if (!seen[i]) continue;
    const inner = limit * 0.86 - 60;
    boxes[i + 1] = natural && natural[i + 1].h <= inner ? natural[i + 1] : opened[i]
      ? stacked(data, groups[i], box(data, data.plans[i + 1], boxes, groups[i].tw, inner))
      : {w: groups[i].w, h: groups[i].h, enter: groups[i].w / 2, leave: groups[i].w / 2};
  }
  boxes[0] = box(data, data.plans[0], boxes, -1, limit);
  return boxes;
}

function stacked(data, {times}, b) {
  if (times) { b.w += data.metrics.cards; b.h += data.metrics.cards; }
  return b;
}

function box(data, plan, boxes, title, limit) {
  const m = data.metrics, {pad, gapX, gapY} = m, {items, col} = plan, n = items.length;
  const w = zeros(n), h = zeros(n), enter = zeros(n);
  for (let i = 0; i < n; i++) {
    if (items[i] >= 0) {
      const node = data.nodes[items[i]];
      w[i] = node.w; h[i] = node.h; enter[i] = node.w / 2;
    } else {
      const b = boxes[-items[i]];
      w[i] = b.w; h[i] = b.h; enter[i] = b.enter;
    }
  }
  const at = zeros(n), begins = [0, ...plan.cuts], ends = [...plan.cuts, n];
  for (let k = 0; k < begins.length; k++) spread(at, col, w, enter, begins[k], ends[k], gapX);
  const top = title >= 0 ? m.head + 4 : pad, y = zeros(n);
  for (const i of plan.order) {
    y[i] = top;
    for (const j of plan.after[i]) y[i] = Math.max(y[i], y[j] + h[j] + gapY);
  }
  const [column, starts] = breakUp(plan.breaks, y, h, limit), count = starts.length;
  const low = zeros(count), high = zeros(count);
  for (let i = 0; i < n; i++) {
    const c = column[i];
    low[c] = Math.min(low[c], at[i] - enter[i]);
    high[c] = Math.max(high[c], at[i] - enter[i] + w[i]);
  }
  const lanesLeft = zeros(count), lanesRight = zeros(count);
  for (const [s, t, route, lane] of plan.edges) {
    if (route !== LANE) continue;
    const c = t >= 0 ? column[t] : column[s];
    lanesLeft[c] = Math.max(lanesLeft[c], -lane);
    lanesRight[c] = Math.max(lanesRight[c], lane);
  }
  const centre = zeros(count), edge = zeros(count);
  let x0 = pad;
  for (let c = 0; c < count; c++) {
    let reach = -low[c] + (lanesLeft[c] ? lanesLeft[c] * m.lane + 6 : 0);
    if (c === 0 && title >= 0) reach = Math.max(reach, title + 10);
    edge[c] = x0;
    centre[c] = x0 + reach;
    low[c] += centre[c];
    high[c] += centre[c];
    x0 = high[c] + (lanesRight[c] ? lanesRight[c] * m.lane + 6 : 0) + m.gutter;
  }
  const width = x0 - m.gutter + pad, x = zeros(n);
  let height = top;
  for (let i = 0; i < n; i++) {
    const c = column[i];
    x[i] = centre[c] + at[i] - enter[i];
    y[i] = y[i] - starts[c] + top;
    height = Math.max(height, y[i] + h[i]);
  }
  return {w: width, h: height + pad, enter: centre[0], leave: centre[count - 1], x, y, column, low, high, edge};
}

function spread(at, col, w, enter, first, last, gap) {
  const left = new Map(), right = new Map();
  for (let i = first; i < last; i++) {
    left.set(col[i], Math.max(left.get(col[i]) || 0, enter[i]));
    right.set(col[i], Math.max(right.get(col[i]) || 0, w[i] - enter[i]));
  }
  const x = new Map([[0, 0]]), keys = [...left.keys()].sort((a, b) => a - b);
  let edge = right.get(0) || 0;
  for (const k of keys) {
    if (k <= 0) continue;
    x.set(k, edge + gap + left.get(k));
    edge = x.get(k) + right.get(k);
  }
  edge = -(left.get(0) || 0);
  for (const k of keys.reverse()) {
    if (k >= 0) continue;
    x.set(k, edge - gap - right.get(k));
    edge = x.get(k) - left.get(k);
  }
  for (let i = first; i < last; i++) at[i] = x.get(col[i]);
}

function breakUp(cuts, y, h, limit) {
  const n = y.length, begins = [0, ...cuts], ends = [...cuts, n];
  const spans = begins.map((a, k) => {
    let first = 1e18, last = 0;
    for (let i = a; i < ends[k]; i++) { first = Math.min(first, y[i]); last = Math.max(last, y[i] + h[i]); }
    return [first, last];
  });
  const total = n ? spans[spans.length - 1][1] - spans[0][0] : 0;
  let starts = [0];
  if (total > limit) {
    starts = pack(spans, limit);
    const fewest = starts.length;
    for (let step = 0; step < 21; step++) {
      const tried = pack(spans, total / fewest * (1 + 0.05 * step));
      if (tried.length <= fewest) { starts = tried; break; }
    }
  }
  const column = zeros(n);
  starts.forEach((seg, c) => column.fill(c, begins[seg]));
  return [column, starts.map(seg => spans[seg][0])];
}

function pack(spans, limit) {
  const starts = [0];
  spans.forEach(([, last], k) => {
    const begin = starts[starts.length - 1];
    if (k > begin && last - spans[begin][0] > limit) starts.push(k);
  });
  return starts;
}

function place(data, opened, boxes, limit) {
  const {groups} = data, seen = visible(data, opened), root = boxes[0];
  const out = {
    w: root.w, h: root.h, limit,
    nodes: new Array(data.nodes.length).fill(null), groups: new Array(groups.length).fill(null), routes: [],
  };
  for (let p = 0; p <= groups.length; p++) {
    if (p && !(seen[p - 1] && opened[p - 1])) continue;
    const b = boxes[p], plan = data.plans[p], mine = p ? out.groups[p - 1] : {x: 0, y: 0};
    plan.items.forEach((item, i) => {
      const x = mine.x + b.x[i], y = mine.y + b.y[i];
      if (item >= 0) out.nodes[item] = {x, y, w: data.nodes[item].w, h: data.nodes[item].h};
      else out.groups[-item - 1] = {x, y, w: boxes[-item].w, h: boxes[-item].h, open: !!opened[-item - 1]};
    });
    for (let k = 0; k < plan.edges.length; k++) {
      const [points, arrow] = way(data, opened, boxes, p, k);
      out.routes.push({plan: p, edge: k, points: points.map(([x, y]) => [mine.x + x, mine.y + y]), arrow});
    }
  }
  return out;
}

function way(data, opened, boxes, p, k) {
  const m = data.metrics, plan = data.plans[p], b = boxes[p], gap = m.gapY, {items} = plan;
  const [s, t, route, lane] = plan.edges[k];
  const size = i => {
    if (items[i] < 0) return boxes[-items[i]];
    const {w, h} = data.nodes[items[i]];
    return {w, h, enter: w / 2, leave: w / 2};
  };
  let sx, sy, low, tx, ty, high, tw = 0, th = 0, inside = true;
  if (s === IN) { sx = b.enter; sy = 0; low = p ? m.head - 1 : m.pad - 9; }
  else { const z = size(s); sx = b.x[s] + z.leave; sy = b.y[s] + z.h; low = sy + gap * 0.45; }
  if (t === OUT) { tx = b.leave; ty = b.h; high = b.h - 8; }
  else {
    const z = size(t);
    tw = z.w; th = z.h; tx = b.x[t] + z.enter; ty = b.y[t];
    high = ty - gap * 0.5;
    inside = items[t] < 0 && !!opened[-items[t] - 1];
  }
  const arrow = !inside, middle = ty + th / 2;
  if (route === LINE) {
    const c = t >= 0 ? b.column[t] : s >= 0 ? b.column[s] : 0;
    if (s >= 0 && t >= 0 && b.column[s] !== c) {
      const gx = b.edge[c] - m.gutter / 2, top = ty - 11;
      return [[[sx, sy], [sx, sy + 13], [gx, sy + 13], [gx, top], [tx, top], [tx, ty]], arrow];
    }
    if (Math.abs(sx - tx) < 0.01) return [[[sx, sy], [tx, ty]], arrow];
    return [[[sx, sy], [sx, high], [tx, high], [tx, ty]], arrow];
  }
  if (route === FORK) return [[[sx, sy], [sx, low], [tx, low], [tx, ty]], arrow];
  if (route === JOIN) {
    if (!inside && !lane && sx > tx + tw / 2 + 6) return [[[sx, sy], [sx, middle], [b.x[t] + tw, middle]], arrow];
    if (!inside && !lane && sx < tx - tw / 2 - 6) return [[[sx, sy], [sx, middle], [b.x[t], middle]], arrow];
    return [[[sx, sy], [sx, high], [tx, high], [tx, ty]], arrow];
  }
  const c = t >= 0 ? b.column[t] : b.column[s];
  const lx = lane > 0 ? b.high[c] + 4 + lane * m.lane : b.low[c] - 4 + lane * m.lane;
  if (inside) return [[[sx, sy], [sx, low], [lx, low], [lx, high], [tx, high], [tx, ty]], arrow];
  const side = lane > 0 ? b.x[t] + tw : b.x[t];
  return [[[sx, sy], [sx, low], [lx, low], [lx, middle], [side, middle]], arrow];
}
})();
