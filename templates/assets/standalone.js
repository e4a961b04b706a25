'use strict';
// A drawing of the page as a file of its own: what the style sheet says of it is written upon its
// shapes, what it uses from elsewhere in the page is put into it, and the fonts come along.
(() => {
const RV = globalThis.RV = globalThis.RV || {};
// Characters that XML cannot hold are spelled out, as the still picture does.
const safe = xml => xml.replace(/[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/gu, bad => '\\u' + bad.codePointAt(0).toString(16).padStart(4, '0'));
const {el, n2} = RV;
const XLINK = 'http://www.w3.org/1999/xlink';
// What a shape takes over from what is around it, and what not (with the value that says nothing).
const INHERITED = [
  'fill', 'fill-opacity', 'stroke', 'stroke-opacity', 'stroke-width', 'stroke-dasharray', 'stroke-linejoin', 'stroke-linecap',
  'paint-order', 'text-anchor', 'font-family', 'font-size', 'font-weight', 'font-style', 'image-rendering', 'direction',
];
const OWN = {opacity: '1', 'mix-blend-mode': 'normal', 'clip-path': 'none', mask: 'none', filter: 'none', 'vector-effect': 'none', 'dominant-baseline': 'auto'};
const INITIAL = {
  fill: '#000000', 'fill-opacity': '1', stroke: 'none', 'stroke-opacity': '1', 'stroke-width': '1', 'stroke-dasharray': 'none', 'stroke-linejoin': 'miter',
  'stroke-linecap': 'butt', 'paint-order': 'normal', 'text-anchor': 'start', 'font-weight': '400', 'font-style': 'normal', 'image-rendering': 'auto', direction: 'ltr',
};

// Colours as every reader of SVG knows them: [#rrggbb, opacity].
const plain = value => {
  const numbers = value.match(/-?[\d.]+(e-?\d+)?/g)?.map(Number);
  if (!numbers || !/^(rgb|color\(srgb)/.test(value)) return [value, 1];
  const scale = value.startsWith('color') ? 255 : 1;
  const [r, g, b] = numbers.map(v => Math.max(0, Math.min(255, Math.round(v * scale))));
  return ['#' + [r, g, b].map(v => v.toString(16).padStart(2, '0')).join(''), numbers[3] ?? 1];
};
const styles = element => {
  const css = getComputedStyle(element), out = {};
  for (const name of [...INHERITED, ...Object.keys(OWN)]) out[name] = css.getPropertyValue(name).replace(/^([\d.]+)px$/, '$1').replaceAll('px,', ',').replace(/px$/, '');
  for (const name of ['fill', 'stroke']) {
    const [colour, alpha] = plain(out[name]);
    out[name] = alpha ? colour : 'none';
    if (alpha < 1) out[name + '-opacity'] = String(n2(Number(out[name + '-opacity']) * alpha));
  }
  return out;
};
const hidden = element => { const css = getComputedStyle(element); return css.display === 'none' || css.visibility === 'hidden'; };
const DROPPED = /^(class|style|tabindex|role|aria-.*|data-(key|toggle|group))$/;

// A copy that looks the same outside the page.
const copied = (element, around) => {
  const copy = element.cloneNode(false);
  for (const name of element.getAttributeNames()) if (DROPPED.test(name)) copy.removeAttribute(name);
  if (/^(title|desc)$/.test(element.localName)) { copy.textContent = element.textContent; return copy; }
  const mine = styles(element);
  for (const name of INHERITED) if (mine[name] !== around[name]) copy.setAttribute(name, mine[name]);
  for (const name in OWN) if (mine[name] !== OWN[name] && mine[name]) copy.setAttribute(name, mine[name].replace(/url\("?[^"#)]*#([^")]*)"?\)/, 'url(#$1)'));
  for (const child of element.childNodes) {
    if (child.nodeType === 3) copy.append(child.textContent);
    else if (child.nodeType === 1 && (child.closest('defs') || !hidden(child)) && !child.classList.contains('hit')) copy.append(copied(child, mine));
  }
  return copy;
};
// What it points at elsewhere in the page.
const borrow = (made, seen = new Set()) => {
  for (const element of [made, ...made.querySelectorAll('*')]) for (const name of ['href', 'fill', 'stroke', 'filter', 'mask', 'clip-path']) {
    const id = /^(?:url\()?#([^)]+)\)?$/.exec(element.getAttribute(name) ?? '')?.[1], source = id && document.getElementById(id);
    if (!source || seen.has(id) || made.querySelector(`#${CSS.escape(id)}`)) continue;
    seen.add(id);
    const defs = made.querySelector(':scope > defs') || made.insertBefore(el('defs', {}), made.firstChild);
    defs.append(copied(source, {...INITIAL}));
    borrow(made, seen);
  }
};
const fonts = () => [...document.styleSheets].flatMap(sheet => [...sheet.cssRules]).filter(rule => rule instanceof CSSFontFaceRule).map(rule => rule.cssText).join('\n');

// `box` is [x, y, width, height] of what to show, by default the drawing's own.
RV.standalone = (svg, {box, background, margin = 0} = {}) => {
  // As it is without a pointer over it and nothing selected.
  const root = document.documentElement, marked = [...svg.querySelectorAll('.sel,.hl,.dim,.off')].map(e => [e, e.className.baseVal]);
  const searching = svg.classList.contains('searching');
  root.classList.add('frozen');
  svg.classList.remove('searching');
  for (const [e] of marked) e.classList.remove('sel', 'hl', 'dim', 'off');
  const rect = svg.getBoundingClientRect(), own = svg.viewBox.baseVal;
  const [left, top, wide, high] = box || (own?.width ? [own.x, own.y, own.width, own.height] : [0, 0, rect.width, rect.height]);
  const x = left - margin, y = top - margin, w = wide + 2 * margin, h = high + 2 * margin;
  // A map may be as many units wide as it has pixels: a file of it is to be looked at.
  const enlarged = Math.max(1, 320 / Math.max(w, h));
  const made = copied(svg, {...INITIAL});
  for (const [e, name] of marked) e.setAttribute('class', name);
  svg.classList.toggle('searching', searching);
  root.classList.remove('frozen');
  const label = svg.getAttribute('aria-label');
  for (const name of ['id', 'preserveAspectRatio']) made.removeAttribute(name);
  if (box) made.querySelector('g')?.removeAttribute('transform');
  made.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
  made.setAttribute('viewBox', [x, y, w, h].map(n2).join(' '));
  made.setAttribute('width', n2(w * enlarged));
  made.setAttribute('height', n2(h * enlarged));
  if (label) made.setAttribute('aria-label', label);
  made.setAttribute('role', 'img');
  const colour = plain(getComputedStyle(background || svg).backgroundColor);
  if (colour[1]) made.prepend(el('rect', {x: n2(x), y: n2(y), width: n2(w), height: n2(h), fill: colour[0], stroke: 'none'}));
  borrow(made);
  el('style', {}, made).textContent = fonts();
  made.prepend(made.lastChild);
  return safe(new XMLSerializer().serializeToString(made));
};

// A canvas has a largest size; within it a drawing gets `scale` dots per unit.
const EDGE = 16000, AREA = 9e7;
RV.pixels = async (text, scale = 2) => {
  const image = new Image(), url = URL.createObjectURL(new Blob([text], {type: 'image/svg+xml'}));
  try {
    image.src = url;
    await image.decode();
    const {naturalWidth: w, naturalHeight: h} = image;
    const k = Math.min(scale, EDGE / w, EDGE / h, Math.sqrt(AREA / (w * h)));
    const canvas = document.createElement('canvas');
    canvas.width = Math.round(w * k);
    canvas.height = Math.round(h * k);
    canvas.getContext('2d').drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((done, fail) => canvas.toBlob(blob => (blob ? done(blob) : fail(new Error('no PNG'))), 'image/png'));
  } finally { URL.revokeObjectURL(url); }
};
})();
