'use strict';
// From a plan and a set of open boxes to coordinates: the twin of coordinates.py and boxes.py.
// Both do the same arithmetic in the same order, and a test requires equal numbers,
// so a change here is a change there. Inside, x is across the flow and y along it;
// what comes out is turned where the drawing runs from left to right.
(() => {
const RV = globalThis.RV = globalThis.RV || {};
const IN = -1, OUT = -2, RIGHT = -4, LINE = 0, JOIN = 2, LANE = 3, PORT = 4;
const BELOW = 0, ABOVE = 1, WALL = 2;
const ENDLESS = 1e9;
const zeros = n => new Array(n).fill(0);
const least = (list, a, b) => { let m = list[a]; for (let i = a + 1; i < b; i++) if (list[i] < m) m = list[i]; return m; };
const most = (list, a, b) => { let m = list[a]; for (let i = a + 1; i < b; i++) if (list[i] > m) m = list[i]; return m; };
// How many of an ascending list are no larger.
const upTo = (list, value) => {
  let a = 0, b = list.length;
  while (a < b) { const m = (a + b) >> 1; if (list[m] <= value) a = m + 1; else b = m; }
  return a;
};

// `keep` is an earlier layout of the same data: what it broke stays broken as it was, and
// what stands before a box that was opened or closed stays where it was.
RV.layout = (data, opened, {aspect = 1.6, limit = 0, keep = null} = {}) => {
  if (keep && !(limit > 0)) limit = keep.limit;
  if (!(limit > 0)) limit = bestLimit(data, opened, aspect);
  return place(data, opened, sizes(data, opened, limit, null, keep ? keep.kept : {}), limit, keep);
};

function bestLimit(data, opened, aspect) {
  const natural = sizes(data, opened, ENDLESS, null, {}), whole = natural[0];
  if (turned(data)) aspect = 1 / aspect;
  let best = Math.min(aspect / whole.w, 1 / whole.h), found = ENDLESS;
  const step = 0.5 * Math.max(1, Math.sqrt(aspect * whole.h / whole.w) / 8);
  for (let k = 2; k < 25; k++) {
    const limit = whole.h / (1 + k * step);
    if (limit < (turned(data) ? 640 : 260)) break;
    const box = sizes(data, opened, limit, natural, {})[0];
    const scale = Math.min(aspect / box.w, 1 / box.h);
    if (scale > best * 1.04) { best = scale; found = limit; }
  }
  return found;
}

const turned = data => data.direction === 'LR';

function visible(data, opened) {
  const seen = [];
  for (const {parent} of data.groups) seen.push(parent < 0 || (seen[parent] && !!opened[parent]));
  return seen;
}

// Where nothing inside is broken, what stands in a box (natural) needs not be worked out again.
function sizes(data, opened, limit, natural, kept) {
  const {groups} = data, seen = visible(data, opened), turn = turned(data);
  const boxes = new Array(groups.length + 1).fill(null);
  const changed = new Array(groups.length + 1).fill(!natural);
  for (let i = groups.length; i >= 0; i--) {
    const group = groups[i - 1];
    if (!i || (seen[i - 1] && opened[i - 1])) {
      const room = i ? Math.max(limit * 0.86 - 60, turn ? 560 : 240) : limit;
      if (!changed[i] && natural[i].h <= room) { boxes[i] = natural[i]; continue; }
      const stack = changed[i] ? stackOf(data, i, boxes) : natural[i].stack;
      boxes[i] = broken(data, i, stack, room, kept[i]);
      if (i && natural && (boxes[i].starts.length > 1 || changed[i])) changed[group.parent + 1] = true;
    } else if (seen[i - 1]) {
      const [w, h] = turn ? [group.h, group.w] : [group.w, group.h];
      boxes[i] = {w, h, enter: w / 2, leave: w / 2};
    }
  }
  return boxes;
}

// Where a box's content begins: along the flow, likewise its first ways; and across.
function begin(data, p) {
  const m = data.metrics;
  if (!p) return [m.pad, m.pad - 9, m.pad];
  const ports = data.plans[p].ports ? 6 : 0;
  return turned(data) ? [m.pad + 4 + ports, m.pad - 1 + ports, m.head + 4] : [m.head + 4 + ports, m.head - 1 + ports, m.pad];
}

function stackOf(data, p, boxes) {
  const m = data.metrics, plan = data.plans[p], turn = turned(data), gap = m.gapY;
  const {items, col, after, bars, cuts} = plan, n = items.length;
  const w = zeros(n), h = zeros(n), enter = zeros(n), leave = zeros(n);
  for (let i = 0; i < n; i++) {
    if (items[i] >= 0) {
      const node = data.nodes[items[i]];
      w[i] = turn ? node.h : node.w;
      h[i] = turn ? node.w : node.h;
      enter[i] = leave[i] = w[i] / 2;
    } else {
      const b = boxes[-items[i]];
      w[i] = b.w; h[i] = b.h; enter[i] = b.enter; leave[i] = b.leave;
    }
  }
  const begins = [0, ...cuts], ends = [...cuts, n], count = begins.length;
  const at = zeros(n), low = zeros(count), high = zeros(count);
  for (let k = 0; k < count; k++) [low[k], high[k]] = spread(at, col, w, enter, begins[k], ends[k], m.gapX);
  const [top] = begin(data, p), y = new Array(after.length).fill(top), under = new Map(), over = new Map();
  for (const i of plan.order) {
    const kind = i >= n ? bars[i - n][1] : -1;
    let from = top;
    for (const j of after[i]) {
      let end;
      if (j < n) {
        end = y[j] + h[j];
        end += kind < 0 ? gap : kind === WALL ? 0 : gap * 0.45;
      } else if (kind < 0) end = y[j] + (bars[j - n][1] === WALL ? gap : gap * 0.55);
      else end = y[j] + (kind === WALL ? 0 : gap * 0.4);
      if (end > from) from = end;
    }
    y[i] = from;
    if (kind === BELOW) under.set(bars[i - n][0], from);
    else if (kind === ABOVE) over.set(bars[i - n][0], from);
  }
  const first = zeros(count), last = zeros(count);
  for (let k = 0; k < count; k++) {
    first[k] = last[k] = top;
    for (let i = begins[k]; i < ends[k]; i++) {
      const from = over.has(i) ? over.get(i) : y[i], end = y[i] + h[i];
      if (i === begins[k] || from < first[k]) first[k] = from;
      if (i === begins[k] || end > last[k]) last[k] = end;
    }
  }
  const lanesLeft = zeros(count), lanesRight = zeros(count);
  let lastItem = -1;
  for (const [s, t, route, lane] of plan.edges) {
    if (t === OUT && route === LINE) lastItem = s;
    if (route % PORT !== LANE) continue;
    const k = upTo(begins, t >= 0 ? t : Math.max(s, 0)) - 1;
    lanesLeft[k] = Math.max(lanesLeft[k], -lane);
    lanesRight[k] = Math.max(lanesRight[k], lane);
  }
  return {w, h, enter, leave, at, y, under, over, begins, first, last, low, high, lanesLeft, lanesRight, lastItem};
}

function spread(at, col, w, enter, first, last, gap) {
  if (last - first === 1 && col[first] === 0) return [-enter[first], w[first] - enter[first]];
  const left = new Map(), right = new Map();
  for (let i = first; i < last; i++) {
    left.set(col[i], Math.max(left.get(col[i]) || 0, enter[i]));
    right.set(col[i], Math.max(right.get(col[i]) || 0, w[i] - enter[i]));
  }
  const x = new Map([[0, 0]]), keys = [...left.keys()].sort((a, b) => a - b);
  let high = right.get(0) || 0, low = -(left.get(0) || 0);
  for (const k of keys) {
    if (k <= 0) continue;
    x.set(k, high + gap + left.get(k));
    high = x.get(k) + right.get(k);
  }
  for (const k of keys.reverse()) {
    if (k >= 0) continue;
    x.set(k, low - gap - right.get(k));
    low = x.get(k) - left.get(k);
  }
  for (let i = first; i < last; i++) at[i] = x.get(col[i]);
  return [low, high];
}

function broken(data, p, stack, limit, kept) {
  const m = data.metrics, plan = data.plans[p], turn = turned(data), n = plan.items.length;
  const segments = stack.begins.length, starts = startsOf(plan, stack, limit, kept), count = starts.length;
  const [top, , x0] = begin(data, p), group = data.groups[p - 1], title = p ? group.tw + 10 : 0;
  const column = zeros(n), centre = zeros(count), low = zeros(count), high = zeros(count);
  const hop = zeros(count), bottom = zeros(count), shift = zeros(count);
  let height = top, right = x0;
  for (let c = 0; c < count; c++) {
    const a = starts[c], b = c + 1 < count ? starts[c + 1] : segments;
    column.fill(c, stack.begins[a], b < segments ? stack.begins[b] : n);
    low[c] = least(stack.low, a, b);
    high[c] = most(stack.high, a, b);
    const left = most(stack.lanesLeft, a, b), beside = most(stack.lanesRight, a, b);
    const reach = -low[c] + (left ? left * m.lane + 6 : 0);
    if (c) {
      hop[c] = right + m.gutter / 2;
      centre[c] = right + m.gutter + reach;
      if (kept && c < kept.middles.length) centre[c] = Math.max(hop[c] + 6 + reach, centre[0] + kept.middles[c]);
    } else centre[c] = x0 + (turn ? reach : Math.max(reach, title));
    low[c] += centre[c];
    high[c] += centre[c];
    right = high[c] + (beside ? beside * m.lane + 6 : 0);
    shift[c] = stack.first[a] - top;
    bottom[c] = stack.last[b - 1] - shift[c];
    height = Math.max(height, bottom[c]);
  }
  let w = right + m.pad, h = height + m.pad;
  if (p) {
    if (turn) h = Math.max(h, title + m.pad);
    if (group.times) { w += m.cards; h += m.cards; }
  }
  const i = stack.lastItem;
  const leave = i < 0 ? centre[count - 1] : centre[column[i]] + stack.at[i] - stack.enter[i] + stack.leave[i];
  return {w, h, enter: centre[0], leave, stack, column, starts, shift, centre, low, high, hop, bottom};
}

function startsOf(plan, stack, limit, kept) {
  const {begins, first, last} = stack, end = last[last.length - 1];
  if (kept) {
    const at = new Map(begins.map((i, k) => [i, k]));
    return kept.starts.map(i => at.get(i));
  }
  const total = end - first[0];
  if (total <= limit) return [0];
  const free = new Set(plan.breaks), whole = [0];
  for (let k = 1; k < begins.length; k++) if (free.has(begins[k])) whole.push(k);
  const from = whole.map(k => first[k]), to = whole.map((_, i) => (i + 1 < whole.length ? last[whole[i + 1] - 1] : end));
  limit = Math.max(limit, 1.15 * from.reduce((m, a, i) => Math.max(m, to[i] - a), 0));
  if (total <= limit) return [0];
  let starts = pack(from, to, limit);
  const fewest = starts.length;
  for (let step = 0; step < 21; step++) {
    const tried = pack(from, to, total / fewest * (1 + 0.05 * step));
    if (tried.length <= fewest) { starts = tried; break; }
  }
  return starts.map(k => whole[k]);
}

function pack(first, last, limit) {
  const starts = [0];
  for (;;) {
    const from = starts[starts.length - 1], k = Math.max(upTo(last, first[from] + limit), from + 1);
    if (k >= last.length) return starts;
    starts.push(k);
  }
}

const xOf = (b, i) => b.centre[b.column[i]] + b.stack.at[i] - b.stack.enter[i];
const yOf = (b, i) => b.stack.y[i] - b.shift[b.column[i]];

function place(data, opened, boxes, limit, keep) {
  const {groups} = data, root = boxes[0];
  const out = {
    x: keep ? keep.kept[0].middles[0] - root.centre[0] : 0, y: 0, w: root.w, h: root.h, limit,
    nodes: new Array(data.nodes.length).fill(null), groups: new Array(groups.length).fill(null), routes: [], kept: {},
  };
  for (let p = 0; p <= groups.length; p++) {
    const mine = p ? out.groups[p - 1] : out;
    if (p && !(mine && mine.open)) continue;
    const b = boxes[p], plan = data.plans[p], {x: ox, y: oy} = mine, {items} = plan, {w, h, begins} = b.stack;
    for (let i = 0; i < items.length; i++) {
      const item = items[i], x = ox + xOf(b, i), y = oy + yOf(b, i);
      if (item >= 0) out.nodes[item] = {x, y, w: w[i], h: h[i]};
      else out.groups[-item - 1] = {x, y, w: w[i], h: h[i], open: !!opened[-item - 1]};
    }
    for (let k = 0; k < plan.edges.length; k++) {
      const [points, arrow] = way(data, opened, b, p, k);
      out.routes.push({plan: p, edge: k, points: points.map(([x, y]) => [ox + x, oy + y]), arrow});
    }
    out.kept[p] = {
      starts: b.starts.map(k => begins[k]),
      middles: b.centre.map((x, c) => (c ? x - b.centre[0] : p ? 0 : ox + x)),
    };
  }
  if (turned(data)) turn(out);
  return out;
}

// From top to bottom becomes from left to right.
function turn(out) {
  [out.x, out.y, out.w, out.h] = [out.y, out.x, out.h, out.w];
  for (const list of [out.nodes, out.groups]) for (const b of list) if (b) [b.x, b.y, b.w, b.h] = [b.y, b.x, b.h, b.w];
  for (const route of out.routes) route.points = route.points.map(([x, y]) => [y, x]);
}

// How far down a box's side it is entered, below its title or before it.
const portOf = data => (turned(data) ? 8 : data.metrics.head - 1);

function way(data, opened, b, p, k) {
  const m = data.metrics, plan = data.plans[p], {stack} = b, gap = m.gapY, {items} = plan;
  const [s, t, code, lane] = plan.edges[k], port = code >= PORT, route = code % PORT;
  const [top, under] = begin(data, p);
  let sx, sy, low, c, left, tx, ty, tw, inside, side, high;
  if (s >= 0) {
    sx = xOf(b, s) + stack.leave[s];
    sy = yOf(b, s) + stack.h[s];
    low = stack.under.has(s) ? stack.under.get(s) - b.shift[b.column[s]] : sy + gap * 0.45;
  } else if (s === IN) { sx = b.enter; sy = 0; low = under; }
  else { sx = s === RIGHT ? b.w : 0; sy = low = portOf(data); }
  if (t === OUT) {
    c = s >= 0 ? b.column[s] : b.centre.length - 1;
    left = 0; tx = b.leave; ty = b.h; tw = 0; inside = true;
    side = 0; high = b.h - 8;
  } else {
    c = b.column[t];
    left = xOf(b, t); ty = yOf(b, t); tw = stack.w[t];
    tx = left + stack.enter[t];
    inside = items[t] < 0 && !!opened[-items[t] - 1];
    side = ty + (inside ? portOf(data) : stack.h[t] / 2);
    high = stack.over.has(t) ? stack.over.get(t) - b.shift[c] : ty - gap * 0.5;
  }
  const arrow = !inside, aside = port || !inside;
  if (route === LINE) {
    if (s >= 0 && t >= 0 && b.column[s] !== c) {
      const end = b.bottom[b.column[s]] + m.pad - 6, from = top - 11, gx = b.hop[c];
      return [[[sx, sy], [sx, end], [gx, end], [gx, from], [tx, from], [tx, ty]], arrow];
    }
    if (Math.abs(sx - tx) < 0.01) return [[[sx, sy], [tx, ty]], arrow];
    const bend = t === OUT ? high : s >= 0 ? sy + gap * 0.25 : low;
    return [[[sx, sy], [sx, bend], [tx, bend], [tx, ty]], arrow];
  }
  if (route === JOIN) {
    if (!aside) return [[[sx, sy], [sx, high], [tx, high], [tx, ty]], arrow];
    return [[[sx, sy], [sx, side], [sx > tx ? left + tw : left, side]], arrow];
  }
  if (route === LANE) {
    const aloof = 4 + Math.abs(lane) * m.lane, lx = lane > 0 ? b.high[c] + aloof : b.low[c] - aloof;
    const start = s < OUT ? [[sx, sy], [lx, low]] : [[sx, sy], [sx, low], [lx, low]];
    if (!aside) return [[...start, [lx, high], [tx, high], [tx, ty]], arrow];
    return [[...start, [lx, side], [lane > 0 ? left + tw : left, side]], arrow];
  }
  return [[[sx, sy], [sx, low], [tx, low], [tx, ty]], arrow];
}
})();
