'use strict';
// Marks on the ways of open boxes: where a skip parts, what runs on it, which shape. The twin
// of edge_marks.py: the same shapes in the same order.
(() => {
const RV = globalThis.RV = globalThis.RV || {};
const {n2} = RV;
const TAG = 12, ASIDE = 8;
const circle = (x, y, r) => `M${n2(x - r)},${n2(y)}a${n2(r)},${n2(r)} 0 1 0 ${n2(2 * r)},0a${n2(r)},${n2(r)} 0 1 0 ${n2(-2 * r)},0Z`;
const edgeOf = (data, route) => data.plans[route.plan].edges[route.edge];
const own = ([, , , , marks, part, plain]) => (marks.length ? marks : part >= 0 && !plain ? [part] : []);
// Whether something else than these skips runs on the edge.
const another = ([, , , , marks, part, plain], mine) => !marks.some(k => mine.includes(k)) && !(mine.includes(part) && !plain);

// Per plan and source the fork behind it, where skips part from something else.
RV.forks = (data, layout) => {
  const leaving = new Map(), found = new Map();
  for (const route of data.skips.length ? layout.routes : []) {
    const [s] = edgeOf(data, route), place = `${route.plan},${s}`;
    if (s < -1) continue;
    if (!leaving.has(place)) leaving.set(place, []);
    leaving.get(place).push(route);
  }
  for (const [place, routes] of leaving) {
    const edges = routes.map(route => edgeOf(data, route));
    const skips = edges.map(own).filter(mine => mine.length && edges.some(e => another(e, mine))).map(mine => mine[0]);
    if (!skips.length) continue;
    const bent = routes.find(r => r.points.length > 3), [start] = routes[0].points;
    found.set(place, {at: bent ? bent.points[1] : start, start, edges, skips});
  }
  return found;
};

const onShortcut = (points, words, width) => {
  const off = 3 + width / 2, spans = points.slice(1).map(([x], i) => Math.abs(x - points[i][0]));
  const k = spans.indexOf(Math.max(...spans)), [ax, ay] = points[k], [bx, by] = points[k + 1];
  if (spans[k] < 1) return ['t', 'formula', ax + off + 2, (ay + by) / 2 + 4, words];
  if (k === spans.length - 1) return ['t', 'formula mid', (ax + bx) / 2, by - off, words];
  return ['t', bx > ax ? 'formula end' : 'formula', bx + (bx > ax ? -ASIDE : ASIDE), by - off, words];
};
const onBranch = (points, words, width) => {
  const [ax, ay] = points.at(-2), [bx, by] = points.at(-1), off = 5 + width / 2, right = bx > ax;
  if (Math.abs(bx - ax) > Math.abs(by - ay)) return ['t', right ? 'formula end' : 'formula', bx + (right ? -11 : 11), by - off, words];
  return ['t', 'formula end', bx - off - 3, by > ay ? by - ASIDE : by + 16, words];
};
// The middle of a tag right behind the source: not there where a row or a box ends.
const behind = (points, box, wide, leaves) => {
  const [x, y] = points[0];
  if (points[1][1] > y + 0.5) return [x, y + 1 + TAG / 2];
  const back = points.slice(1).map(([to], i) => points[i][0] - to), most = Math.max(...back), k = back.indexOf(most);
  if (most > 0) return [(points[k][0] + points[k + 1][0]) / 2, points[k][1]];
  return leaves ? [x - wide / 2, box.y + box.h + 1 + TAG / 2] : [x + 2 + wide / 2, y];
};
const shape = (points, box, leaves, text, wide) => {
  const [x, y] = behind(points, box, wide, leaves);
  const d = `M${n2(x - wide / 2 + 6)},${n2(y - 6)}h${n2(wide - 12)}a6,6 0 0 1 0,12h${n2(12 - wide)}a6,6 0 0 1 0,-12Z`;
  return [['p', 'shape-tag', d], ['t', 'shape-text', x, y + 3.4, text]];
};

RV.edgeMarks = (data, layout, forks, skipWidth, branchWidth) => {
  const out = [], seen = new Set();
  const joined = new Map([...data.skips].reverse().map(skip => [skip.join, skip]));
  const texts = data.plans.map(plan => new Map(plan.shapes.map(([k, ...told]) => [k, told])));
  for (const {at, skips} of forks.values()) {
    const widest = Math.max(...skips.map(k => skipWidth(data.skips[k])));
    out.push(['p', `dot k-${data.skips[skips[0]].kind}`, circle(...at, Math.max(3, widest / 2 + 0.8))]);
  }
  for (const route of layout.routes) {
    const edge = edgeOf(data, route), mine = own(edge), {items} = data.plans[route.plan];
    if (data.look.formulas && edge[4].length) {
      const skip = data.skips[edge[4][0]];
      out.push(onShortcut(route.points, skip.formula[0], skipWidth(skip)));
    } else if (data.look.formulas && !mine.length && edge[1] >= 0 && items[edge[1]] >= 0) {
      const join = data.nodes[items[edge[1]]].id, skip = joined.get(join);
      if (skip && !seen.has(join)) { seen.add(join); out.push(onBranch(route.points, skip.formula[1], branchWidth(skip))); }
    }
    if (data.look.shapes && texts[route.plan].has(route.edge)) {
      const source = items[edge[0]], box = source < 0 ? layout.groups[-source - 1] : layout.nodes[source];
      if (box && !box.open) out.push(...shape(route.points, box, edge[1] === -2, ...texts[route.plan].get(route.edge)));
    }
  }
  return out;
};

// Writes formulas or shapes, or takes them away: sizes and distances change with them.
RV.written = (data, name, on) => {
  const {look, spacing} = data;
  if (!!look[name] === on) return;
  look[name] = on ? 1 : 0;
  if (name === 'formulas') for (const item of [...data.nodes, ...data.groups]) {
    if (!item.other) continue;
    const before = {};
    for (const key in item.other) { before[key] = item[key]; item[key] = item.other[key]; }
    item.other = before;
  }
  const wide = {...data.metrics, ...spacing.plain};
  for (const word in look) if (look[word]) for (const key in spacing[word]) wide[key] = Math.max(wide[key], spacing[word][key]);
  data.metrics = wide;
};
})();
