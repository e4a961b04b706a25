'use strict';
// How much is drawn at a time: beyond about a thousand shapes a browser stumbles, so where
// opening one box would draw more, others close.
(() => {
const RV = globalThis.RV = globalThis.RV || {};

// `opened` says per group whether it is open; it is changed in place.
RV.budget = (data, opened, limit = 1000) => {
const {nodes, groups, plans} = data;
const stamp = groups.map(() => 0);
let clock = 0;

const size = p => plans[p].items.reduce((n, item) => n + (item < 0 && opened[-item - 1] ? size(-item) : 1), 0);
const shown = g => { for (let p = groups[g].parent; p >= 0; p = groups[p].parent) if (!opened[p]) return false; return true; };
const away = (g, at) => Math.max(groups[g].low - at, at - groups[g].high + 1, 0);

// Closes what was opened longest ago, and of the same age what is farthest, but none of `kept`.
// The answer is how many boxes closed.
const fit = (kept, at) => {
  let total = size(0), closed = 0;
  if (total <= limit) return 0;
  const order = groups.map((_, g) => g).filter(g => opened[g] && !kept.has(g));
  order.sort((a, b) => stamp[a] - stamp[b] || away(b, at) - away(a, at) || b - a);
  for (const g of order) {
    if (total <= limit) break;
    if (!shown(g)) continue;
    total -= size(g + 1) - 1;
    opened[g] = false;
    closed++;
  }
  return closed;
};

// Opens a box and those around it; what had to close for it is counted.
const open = g => {
  const kept = new Set();
  for (let p = g; p >= 0; p = groups[p].parent) { kept.add(p); if (!opened[p]) { opened[p] = true; stamp[p] = ++clock; } }
  return fit(kept, groups[g].low);
};

// Opens what `wanted` names, the nearest to node `at` first, as far as there is room.
const level = (wanted, at) => {
  let total = plans[0].items.length;
  const order = groups.map((_, g) => g).sort((a, b) => away(a, at) - away(b, at) || a - b);
  opened.fill(false);
  stamp.fill(0);
  for (const g of order) {
    const {parent} = groups[g];
    if (!wanted[g]) continue;
    // For want of room it stays closed; in a box that is closed anyway, it waits open.
    if (!shown(g)) { opened[g] = opened[parent] || !wanted[parent]; continue; }
    const more = plans[g + 1].items.length - 1;
    if (total + more > limit) continue;
    total += more;
    opened[g] = true;
  }
};

// Of all ops those that are drawn as themselves.
const drawn = () => {
  const seen = [];
  groups.forEach(({parent}, g) => { seen[g] = (parent < 0 || seen[parent]) && opened[g]; });
  return nodes.filter(({group}) => group < 0 || seen[group]).length;
};

return {open, level, drawn};
};
})();
