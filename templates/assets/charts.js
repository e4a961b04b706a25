'use strict';
// The gradient chart: one bar per weighted layer on a log scale. Text comes ready from the
// report; the bar heights are read from that same text, so bar and number cannot differ.
var RV = globalThis.RV || (globalThis.RV = {});

RV.flowChart = (svg, flow, {onHover, onSelect, onDraw}) => {
const {el} = RV;
const TOP = 10, BOTTOM = 24, LEFT = 64, RIGHT = 10, THINNEST = 4, THICKEST = 96;
const SUPER = {'-': '⁻', 0: '⁰', 1: '¹', 2: '²', 3: '³', 4: '⁴', 5: '⁵', 6: '⁶', 7: '⁷', 8: '⁸', 9: '⁹'};
const tick = (m, p) => {
  if (p >= -3 && p <= 3) return p < 0 ? (m * 10 ** p).toFixed(-p) : String(m * 10 ** p);
  return (m > 1 ? m + '·' : '') + '10' + [...String(p)].map(c => SUPER[c]).join('');
};
const text = (attributes, content, parent) => { el('text', attributes, parent).textContent = content; };

let of = 'weights', by = 'L2 norm', at = -1;
const axis = () => flow.axes.find(a => a.of === of && a.by === by);

const draw = () => {
  const {key, title} = axis();
  const texts = flow.series[key];
  const values = texts.map(t => (t === '' ? NaN : t === '∞' ? Infinity : Number(t)));
  const spreads = (flow.spread[key] || []).map(Number);
  const good = values.filter(v => v > 0 && Number.isFinite(v));
  const height = svg.clientHeight || 236;
  const n = Math.max(1, values.length);
  const width = Math.max(svg.parentElement.clientWidth, LEFT + RIGHT + n * THINNEST);
  svg.style.width = width + 'px';
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  svg.textContent = '';
  const lowest = good.length ? Math.log10(Math.min(...good)) : 0;
  const highest = good.length ? Math.log10(Math.max(...good)) : 1;
  // Half a decade of air below, so that the smallest bar is still a bar.
  const lo = Math.floor((lowest - 0.3) * 2) / 2;
  const hi = Math.max(highest + 0.06, lo + 0.8);
  const floor = height - BOTTOM;
  const y = v => TOP + (floor - TOP) * (1 - (Math.log10(v) - lo) / (hi - lo));
  const step = Math.min(THICKEST, (width - LEFT - RIGHT) / n);

  for (const band of flow.bands) {
    const x = LEFT + band.from * step, w = (band.to - band.from) * step;
    el('rect', {x, y: TOP, width: w, height: floor - TOP, class: 'stage-' + band.stage}, svg);
    if (w > band.name.length * 6.4) text({x: x + w / 2, y: height - 7, 'text-anchor': 'middle'}, band.name, svg);
  }
  const decades = Math.max(1, Math.ceil((hi - lo) / 6));
  const between = hi - lo < 2.4 ? [1, 2, 5] : [1];
  for (let p = Math.floor(lo); p <= hi; p += decades) {
    for (const m of between) {
      const level = y(m * 10 ** p);
      if (level > floor + 0.5 || level < TOP) continue;
      el('line', {x1: LEFT, x2: width - RIGHT, y1: level, y2: level, class: m === 1 ? 'axis' : 'axis minor'}, svg);
      text({x: LEFT - 8, y: level + 4, 'text-anchor': 'end'}, tick(m, p), svg);
    }
  }
  el('line', {x1: LEFT, x2: width - RIGHT, y1: floor, y2: floor, class: 'axis'}, svg);
  const label = el('text', {x: 0, y: 0, transform: `translate(13 ${(TOP + floor) / 2}) rotate(-90)`, 'text-anchor': 'middle'}, svg);
  label.textContent = title;

  values.forEach((v, i) => {
    const drawn = v > 0;
    const g = el('g', {'data-op': flow.ops[i], role: 'img', 'aria-label': RV.say('{layer}, {what}: {value}', {layer: flow.names[i], what: flow.whats[i], value: texts[i] || reason(i)})}, svg);
    el('rect', {x: LEFT + i * step, y: TOP, width: step, height: floor - TOP, class: 'hit'}, g);
    const topEdge = drawn ? (Number.isFinite(v) ? y(v) : TOP) : floor - 7;
    el('rect', {
      x: LEFT + i * step + Math.min(1, step * 0.1), y: topEdge, width: Math.max(1, step - Math.min(2, step * 0.2)),
      height: Math.max(1, floor - topEdge), rx: Math.min(2.5, step / 5), class: 'bar k-' + flow.kinds[i] + (drawn ? '' : ' none'),
    }, g);
    if (drawn && spreads[i] > 0 && Number.isFinite(v)) {
      const x = LEFT + (i + 0.5) * step;
      el('line', {x1: x, x2: x, y1: Math.max(TOP, y(v + spreads[i])), y2: Math.min(floor, y(Math.max(v - spreads[i], v * 0.02))), class: 'spread'}, g);
    }
  });
  onDraw?.();
};

const reason = i => flow.reasons[i] || RV.say('no gradient');
const plusMinus = (key, i) => (flow.spread[key]?.[i] ? ` ± ${flow.spread[key][i]}` : '');
const told = [...new Map(flow.axes.map(a => [a.key, a])).values()];
const tip = i => [flow.names[i], flow.whats[i], ...told.map(a => `${a.title}  ${flow.series[a.key][i] || reason(i)}${plusMinus(a.key, i)}`)];
const index = event => flow.ops.indexOf(event.target.closest('[data-op]')?.dataset.op);
const go = (i, event) => { at = i; onHover(i < 0 ? [] : [flow.ops[i]], i < 0 ? null : tip(i), event); };

svg.addEventListener('pointermove', event => go(index(event), event));
svg.addEventListener('pointerleave', () => go(-1));
svg.addEventListener('click', event => { const i = index(event); if (i >= 0) onSelect(flow.ops[i]); });
svg.addEventListener('keydown', event => {
  const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
  if (step) go(Math.min(Math.max(at + step, 0), flow.ops.length - 1), svg.querySelectorAll('g[data-op]')[at + step]?.getBoundingClientRect());
  else if (event.key === 'Enter' && at >= 0) onSelect(flow.ops[at]);
  else if (event.key === 'Escape') go(-1);
  else return;
  event.preventDefault();
});
for (const button of document.querySelectorAll('[data-of],[data-by]')) {
  button.addEventListener('click', () => {
    of = button.dataset.of || of;
    by = button.dataset.by || by;
    for (const b of document.querySelectorAll('[data-of],[data-by]')) {
      b.setAttribute('aria-pressed', String(b.dataset.of === of || b.dataset.by === by));
    }
    draw();
  });
}
new ResizeObserver(draw).observe(svg.parentElement);
draw();
return {draw};
};
