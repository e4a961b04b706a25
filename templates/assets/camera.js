'use strict';
// Where one looks at a drawing from: moving, zooming, fitting, and the map of all of it.
(() => {
const RV = globalThis.RV = globalThis.RV || {};
const {n2} = RV;

// `svg` holds `view`; `extent()` is the layout that is drawn, or null; `paintMap(rect, colour)`
// draws its boxes small.
RV.camera = (svg, view, extent, paintMap) => {
let K = 1, TX = 0, TY = 0, canvas = null;

const apply = () => {
  view.setAttribute('transform', `translate(${n2(TX)} ${n2(TY)}) scale(${Math.round(K * 1e5) / 1e5})`);
  if (canvas) map();
};
const by = (dx, dy) => { TX += dx; TY += dy; apply(); };
const fit = () => {
  const r = svg.getBoundingClientRect(), whole = extent();
  if (!whole || !r.width) return;
  K = Math.min((r.width - 16) / whole.w, (r.height - 16) / whole.h, 1.5);
  TX = (r.width - whole.w * K) / 2 - whole.x * K;
  TY = (r.height - whole.h * K) / 2 - whole.y * K;
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
const centre = box => {
  const r = svg.getBoundingClientRect();
  if (!box) return;
  TX = r.width / 2 - (box.x + box.w / 2) * K;
  TY = r.height / 2 - (box.y + Math.min(box.h / 2, r.height / K / 3)) * K;
  apply();
};
// The box in the middle and large enough to read, unless all of the drawing is.
const reveal = box => { if (K < 0.6) { K = 0.8; centre(box); } };
// The same for what one asked for: it comes to the middle at a size that can be read.
const show = box => { if (K < 0.45) K = 0.8; centre(box); };
// As large as there is room for, but no larger than printed text.
const frame = box => {
  const r = svg.getBoundingClientRect();
  if (!box || !r.width) return;
  K = Math.min(1.6, r.width * 0.7 / box.w, r.height * 0.7 / box.h);
  TX = r.width / 2 - (box.x + box.w / 2) * K;
  TY = r.height / 2 - (box.y + box.h / 2) * K;
  apply();
};
// Moves no more than needed for the box to be in sight.
const bring = box => {
  const r = svg.getBoundingClientRect(), air = 24;
  const into = (low, high, end) => (high - low > end - 2 * air || low < air ? air - low : Math.min(0, end - air - high));
  const x = TX + box.x * K, y = TY + box.y * K;
  by(into(x, x + box.w * K, r.width), into(y, y + box.h * K, r.height));
};
// On paper all of it, as large as the sheet lets it; then again what was on the screen.
const whole = on => {
  const all = extent();
  if (!on || !all) { svg.removeAttribute('viewBox'); apply(); return; }
  svg.setAttribute('viewBox', `${n2(all.x)} ${n2(all.y)} ${n2(all.w)} ${n2(all.h)}`);
  view.removeAttribute('transform');
};
// What was there stays under the pointer.
const keep = (before, after) => { if (before && after) by((before.x - after.x) * K, (before.y - after.y) * K); };

// --- minimap --------------------------------------------------------------------------
const colour = name => getComputedStyle(svg).getPropertyValue('--' + name).trim();
const mapScale = () => Math.min((canvas.clientWidth - 4) / extent().w, (canvas.clientHeight - 4) / extent().h);
let mapDue = 0;
const map = () => { if (!mapDue) mapDue = requestAnimationFrame(() => { mapDue = 0; drawMap(); }); };
const drawMap = () => {
  const W = canvas.clientWidth, H = canvas.clientHeight, dpr = devicePixelRatio || 1, whole = extent();
  if (!W || !whole) return;
  if (canvas.width !== Math.round(W * dpr)) { canvas.width = Math.round(W * dpr); canvas.height = Math.round(H * dpr); }
  const r = svg.getBoundingClientRect();
  const left = TX + whole.x * K, top = TY + whole.y * K;
  // Where all of it is in sight a map would only cover some of it.
  canvas.classList.toggle('idle', left > -1 && top > -1 && left + whole.w * K < r.width + 1 && top + whole.h * K < r.height + 1);
  const c = canvas.getContext('2d'), s = mapScale();
  c.setTransform(dpr, 0, 0, dpr, 0, 0);
  c.clearRect(0, 0, W, H);
  paintMap((box, name) => { c.fillStyle = colour(name); c.fillRect(2 + (box.x - whole.x) * s, 2 + (box.y - whole.y) * s, Math.max(1, box.w * s), Math.max(1, box.h * s)); });
  c.strokeStyle = colour('focus');
  c.lineWidth = 1.5;
  c.strokeRect(2 - left / K * s, 2 - top / K * s, r.width / K * s, r.height / K * s);
};
const minimap = target => {
  canvas = target;
  const go = event => {
    const s = mapScale(), r = svg.getBoundingClientRect(), m = canvas.getBoundingClientRect(), {x, y} = extent();
    TX = r.width / 2 - ((event.clientX - m.left - 2) / s + x) * K;
    TY = r.height / 2 - ((event.clientY - m.top - 2) / s + y) * K;
    apply();
  };
  canvas.addEventListener('pointerdown', event => { canvas.setPointerCapture(event.pointerId); go(event); });
  canvas.addEventListener('pointermove', event => { if (event.buttons) go(event); });
  new MutationObserver(map).observe(document.documentElement, {attributes: true, attributeFilter: ['class', 'data-theme']});
  if (extent()) map();
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
    if (moved >= 4) by(to[0] - from[0], to[1] - from[1]);
    return;
  }
  const [a, b] = [...fingers.values()], spread = Math.hypot(a[0] - b[0], a[1] - b[1]);
  const middle = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
  if (pinch && spread) {
    TX += middle[0] - pinch.middle[0];
    TY += middle[1] - pinch.middle[1];
    zoomAt(spread / pinch.spread, ...middle);
  }
  pinch = {spread: spread || 1, middle};
  moved = 99;
});
for (const name of ['pointerup', 'pointercancel']) addEventListener(name, event => { fingers.delete(event.pointerId); pinch = null; });

return {
  apply, by, fit, zoom, centre, reveal, show, frame, bring, whole, keep, minimap,
  // Whether the last touch moved the drawing (and was no click), and whether one goes on.
  dragged: () => moved >= 4, touched: () => fingers.size > 0, scale: () => K,
};
};
})();
