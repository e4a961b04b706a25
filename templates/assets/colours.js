'use strict';
// What the diagram's ops are coloured by, and the scale that says so. A colouring holds one
// letter per node, then per box: its step, '-' for none, '.' for what is not coloured.
(() => {
const RV = globalThis.RV = globalThis.RV || {};
const {el} = RV;
const CELL = 46, BAR = 12, SIDE = 20, HEIGHT = 30, STEPS = 7;
RV.DEEP = 4;

// `figure` shows the scale; `onPick` is told when the data have other colours, and whether the
// figure took room or gave it.
RV.colours = (data, rows, figure, onPick) => {
const items = [...data.nodes, ...data.groups];
const first = data.colouring?.by ?? 'kind';
// Of the colouring that the page came with the exact words are known, of others the step's.
const words = items.map(item => item.told);

const told = (row, step) => RV.say('{what}: {low} … {high}', {what: row.of, low: row.ticks[step], high: row.ticks[step + 1]});
const paint = row => items.forEach((item, i) => {
  const letter = row ? row.c[i] : '.', step = Number(letter);
  delete item.c;
  delete item.told;
  item.sign = {'+': 1, '-': -1}[row?.s?.[i]] || 0;
  if (letter === '.') return;
  item.c = letter === '-' ? 'none' : step;
  const said = row.by === first ? words[i] : letter === '-' ? '' : told(row, step);
  if (said) item.told = said;
});

const note = (list, shapes, text) => {
  const li = document.createElement('li'), svg = el('svg', {class: 'rv-diagram', width: 20, height: 15, 'aria-hidden': true}, li);
  for (const [css, d] of shapes) el('path', {class: css, d}, svg);
  li.append(text);
  list.append(li);
};
const RING = 'M1,7.5a6.5,6.5 0 1 0 13,0a6.5,6.5 0 1 0 -13,0Z';
const scale = row => {
  const [title, svg, list] = ['figcaption', 'svg', 'ul'].map(name => figure.querySelector(name));
  const how = row.log ? RV.say('log scale') : RV.say('linear scale');
  title.textContent = RV.say('{of}, {how}', {of: row.of, how});
  const width = STEPS * CELL + 2 * SIDE;
  for (const [name, value] of [['width', width], ['height', HEIGHT], ['viewBox', `0 0 ${width} ${HEIGHT}`]]) svg.setAttribute(name, value);
  svg.setAttribute('aria-label', RV.say('{low} to {high}', {low: row.ticks[0], high: row.ticks.at(-1)}));
  svg.replaceChildren();
  for (let i = 0; i < STEPS; i++) el('path', {class: `scale rel-${i}`, d: `M${SIDE + i * CELL},1h${CELL}v${BAR}h-${CELL}Z`}, svg);
  row.ticks.forEach((text, i) => RV.text('tick', SIDE + i * CELL, HEIGHT - 5, text, svg));
  list.replaceChildren();
  if (row.none) note(list, [['swatch rel-none', 'M3,1H17a3,3 0 0 1 3,3V11a3,3 0 0 1 -3,3H3a3,3 0 0 1 -3,-3V4a3,3 0 0 1 3,-3Z']], row.none);
  row.signs.forEach((text, i) => {
    if (text) note(list, [[`sign ${i ? 'minus' : 'plus'}`, RING], ['sign-line', i ? 'M4,7.5H11' : 'M4,7.5H11M7.5,4V11']], text);
  });
};

return by => {
  const row = rows.find(found => found.by === by);
  data.coloured = !!row;
  paint(row);
  if (row) scale(row);
  const moved = figure.hidden === !!row;
  figure.hidden = !row;
  for (const li of document.querySelectorAll('.legend .by-kind')) li.hidden = !!row;
  onPick(moved);
};
};
})();
