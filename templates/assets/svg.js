'use strict';
// What every drawing of the page is made of: elements, numbers in words, rounded ways.
(() => {
const RV = globalThis.RV = globalThis.RV || {};
const NS = 'http://www.w3.org/2000/svg';
const n2 = v => Math.round(v * 100) / 100;

const el = (name, attributes, parent) => {
  const node = document.createElementNS(NS, name);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  parent?.append(node);
  return node;
};
const text = (css, x, y, words, parent) => { el('text', {class: css, x: n2(x), y: n2(y)}, parent).textContent = line(words); };
const tip = (words, parent) => { el('title', {}, parent).textContent = words; };
const si = v => {
  for (const [scale, unit] of [[1e12, ' T'], [1e9, ' G'], [1e6, ' M'], [1e3, ' k']]) {
    if (Math.abs(v) >= scale * 0.9995) return (v / scale).toPrecision(3) + unit;
  }
  return String(v ?? 0);
};
const sci = v => {
  if (v === 0) return '0';
  const size = Math.abs(v);
  if (size >= 1e-3 && size < 1e4) return size < 1000 ? String(Number(v.toPrecision(3))) : v.toFixed(0);
  return v.toExponential(2).replace(/e([+-])(\d)$/, 'e$10$2');
};

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

// A sentence of ours in the page's language: RV.say('{n} of {all}', {n, all}). Where lines begin at
// the right, values keep their own direction (FSI … PDI), and so do sentences in drawings (RLI).
const turned = globalThis.document?.documentElement.dir === 'rtl';
// A value ends the isolates that it begins and no others: a name must not turn the sentence around it.
const tame = value => {
  let open = 0;
  const kept = String(value).replace(/[\u202a-\u202e\u2066-\u2069]/g, sign => {
    if (sign < '\u2066' || (sign === '\u2069' && !open)) return '';
    open += sign === '\u2069' ? -1 : 1;
    return sign;
  });
  return kept + '\u2069'.repeat(open);
};
const apart = value => (turned ? `\u2068${tame(value)}\u2069` : value);
const line = words => (turned && /[\u0590-\u08ff]/.test(words) ? `\u2067${words}\u2069` : words);
RV.words = {};
RV.say = (template, values = {}) => (RV.words[template] || template).replace(/\{(\w+)\}/g, (_, name) => apart(values[name] ?? ''));

// An HTML element of the page.
RV.make = (tag, className, content) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (content !== undefined) node.textContent = content;
  return node;
};
RV.button = (words, act, className = '') => {
  const node = RV.make('button', className, words);
  node.type = 'button';
  node.addEventListener('click', act);
  return node;
};
RV.count = n => n.toLocaleString('en');

Object.assign(RV, {n2, el, text, tip, si, sci, way, head});
})();
