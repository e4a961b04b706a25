'use strict';
// Walking along the graph: what a drawn thing feeds and what feeds it, at the level that is
// open. Keys: n:<op> and g:<group>.
(() => {
const RV = globalThis.RV = globalThis.RV || {};
const IN = -1, OUT = -2, LANE = 3;

RV.walk = (data, opened) => {
const {nodes, groups, plans} = data;
const home = new Map();
plans.forEach((plan, p) => plan.items.forEach((item, k) => {
  home.set(item >= 0 ? 'n:' + nodes[item].id : 'g:' + groups[-item - 1].id, [p, k]);
}));

// Other ends of an item's edges: those of its own column first, those that jump over ops last.
const ends = (p, k, forward) => {
  const {edges, col} = plans[p], far = end => (end < 0 || k < 0 ? 0 : Math.abs(col[end] - col[k]));
  return edges.filter(e => e[forward ? 0 : 1] === k).sort((a, b) => (a[2] === LANE) - (b[2] === LANE))
    .map(e => e[forward ? 1 : 0]).map((end, i) => [far(end), i, end]).sort((a, b) => a[0] - b[0] || a[1] - b[1]).map(e => e[2]);
};
// Where one stands who comes to an item: in an open box at its first op, or at its last.
const enter = (p, k, forward) => {
  const item = plans[p].items[k], g = -item - 1;
  if (item >= 0) return 'n:' + nodes[item].id;
  if (!opened[g]) return 'g:' + groups[g].id;
  const {order} = plans[g + 1], inner = ends(g + 1, forward ? IN : OUT, forward);
  return enter(g + 1, inner.find(end => end >= 0) ?? (forward ? order[0] : order.at(-1)), forward);
};
const beyond = (p, k, forward) => ends(p, k, forward).flatMap(end => {
  if (end >= 0) return [enter(p, end, forward)];
  const outer = p && home.get('g:' + groups[p - 1].id);
  return outer ? beyond(...outer, forward) : [];
});
const isOpen = key => key.startsWith('g:') && opened[-plans[home.get(key)[0]].items[home.get(key)[1]] - 1];

// What comes next (or before), the main way first; of an open box its first op.
const next = (key, forward) => {
  const at = home.get(key);
  if (!at) return [];
  if (forward && isOpen(key)) return [enter(...at, true)];
  return [...new Set(beyond(...at, forward))].filter(other => other !== key);
};
// What leaves the same fork or meets at the same join.
const beside = key => new Set([
  ...next(key, false).flatMap(other => next(other, true)), ...(isOpen(key) ? [] : next(key, true).flatMap(other => next(other, false))),
].filter(other => other !== key));
// The key of the box around, or null.
const around = key => { const at = home.get(key); return at && at[0] ? 'g:' + groups[at[0] - 1].id : null; };

return {next, beside, around};
};
})();
