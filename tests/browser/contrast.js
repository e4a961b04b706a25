// Every text of the page that is harder to read than WCAG 2.2 AA allows (4.5 to 1, large text 3 to 1),
// and how many texts there are. Text in a drawing is compared with the shapes painted under it.
() => {
  const parse = text => {
    const m = (text.match(/-?[\d.]+(e-?\d+)?/g) || []).map(Number), k = text.startsWith('color(srgb') ? 255 : 1;
    return text === 'none' || m.length < 3 ? [0, 0, 0, 0] : [m[0] * k, m[1] * k, m[2] * k, m[3] ?? 1];
  };
  const over = (under, c) => under.map((u, i) => c[3] * c[i] + (1 - c[3]) * u);
  const light = rgb => { const [r, g, b] = rgb.map(v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * r + .7152 * g + .0722 * b; };
  const ratio = (a, b) => (Math.max(light(a), light(b)) + .05) / (Math.min(light(a), light(b)) + .05);
  const opacity = e => { let o = 1; for (; e; e = e.parentElement) o *= Number(getComputedStyle(e).opacity); return o; };
  const ground = e => { const layers = []; for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); layers.push(c); if (c[3] === 1) break; }
    return layers.reverse().reduce(over, [255, 255, 255]); };
  const shapes = 'rect,path,circle,ellipse,polygon';
  // What is painted under the middle of a text in a drawing: the shapes before it that hold the point.
  const under = text => {
    const svg = text.ownerSVGElement, box = text.getBoundingClientRect();
    let out = ground(svg);
    for (let s = svg.parentElement?.closest('svg'); s; s = s.parentElement?.closest('svg')) out = ground(s);
    const x = box.x + box.width / 2, y = box.y + box.height / 2;
    for (const shape of svg.querySelectorAll(shapes)) {
      if (!(shape.compareDocumentPosition(text) & 4)) break;
      if (shape.closest('defs') || shape.matches('.hit')) continue;
      const m = shape.getScreenCTM()?.inverse(); if (!m) continue;
      const css = getComputedStyle(shape), p = new DOMPoint(x, y).matrixTransform(m);
      const fill = parse(css.fill);
      if (fill[3] && shape.isPointInFill(p)) out = over(out, [...fill.slice(0, 3), fill[3] * css.fillOpacity * opacity(shape)]);
    }
    return out;
  };
  const bad = []; let seen = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const e = node.parentElement, words = node.textContent.trim();
    if (!words || e.closest('script,style,title,.vh,.jump,defs,[aria-hidden=true]') || !e.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    const css = getComputedStyle(e), drawn = e.closest('svg text');
    if (drawn && !drawn.getBoundingClientRect().width) continue;
    const back = drawn ? under(drawn) : ground(e);
    const ink = parse(drawn ? css.fill : css.color);
    const front = over(back, [...ink.slice(0, 3), ink[3] * opacity(e) * (drawn ? css.fillOpacity : 1)]);
    const size = parseFloat(css.fontSize), large = size >= 24 || size >= 18.66 && css.fontWeight >= 700;
    seen++;
    const r = ratio(front, back);
    if (r < (large ? 3 : 4.5) - .005) bad.push(`${e.tagName}.${e.className.baseVal ?? e.className} in ${e.parentElement.className.baseVal ?? e.parentElement.className} "${words.slice(0, 24)}" ${r.toFixed(2)}`);
  }
  return [seen, [...new Set(bad)]];
}
