'use strict';
// A menu on every panel that keeps it: the drawing as SVG or PNG, the numbers as CSV.
(() => {
const RV = globalThis.RV = globalThis.RV || {};
const {make, button, say} = RV;

// Letters, digits, dots and dashes; no way into another folder, no hidden file.
RV.fileName = (...parts) => {
  const name = parts.map(part => [...String(part).normalize('NFKC').replace(/[^\p{L}\p{M}\p{N}._-]+/gu, '-').replace(/\.{2,}/g, '.')].slice(0, 60).join('').replace(/^[.\-_]+|[.\-_]+$/g, ''));
  return name.filter(Boolean).join('-') || 'resnet-viz';
};
const save = (blob, name) => {
  const url = URL.createObjectURL(blob), a = make('a');
  a.href = url;
  a.download = name;
  a.click();
  // The browser reads it after this; a minute is enough for the largest.
  setTimeout(() => URL.revokeObjectURL(url), 60000);
};

RV.downloads = ({title, tell, graph, page}) => {
let count = 0;
// `kinds` maps what the button says to what makes the file: a text or a blob.
const menu = (name, kinds) => {
  const box = make('details', 'save js-only'), opener = make('summary'), list = make('div', 'choices');
  const words = say('Download {what}', {what: name});
  opener.setAttribute('aria-label', words);
  opener.title = words;
  const icon = RV.el('svg', {viewBox: '0 0 16 16', width: 16, height: 16, 'aria-hidden': true, class: 'icon'});
  RV.el('path', {d: 'M8 2v8M4.6 7 8 10.4 11.4 7M2.8 13.2h10.4'}, icon);
  opener.append(icon);
  for (const kind of Object.keys(kinds)) {
    const act = async () => {
      box.open = false;
      opener.focus();
      const file = `${RV.fileName(title, name)}.${kind}`;
      try {
        const made = await kinds[kind]();
        save(made instanceof Blob ? made : new Blob([made], {type: {svg: 'image/svg+xml', csv: 'text/csv'}[kind] + ';charset=utf-8'}), file);
        tell(say('Saved {file}', {file}));
      } catch (error) {
        tell(say('This browser could not make {file}: {why}', {file, why: error.message}));
      }
    };
    list.append(button(kind.toUpperCase(), act));
  }
  box.append(opener, list);
  box.addEventListener('keydown', event => { if (event.key === 'Escape' && box.open) { event.stopPropagation(); box.open = false; opener.focus(); } });
  // What is to the side of the window opens to the other side.
  box.addEventListener('toggle', () => {
    if (!box.open) return;
    for (const other of document.querySelectorAll('.save[open]')) if (other !== box) other.open = false;
  });
  return box;
};
document.addEventListener('pointerdown', event => {
  for (const open of document.querySelectorAll('.save[open]')) if (!open.contains(event.target)) open.open = false;
});

const drawing = make_ => ({svg: async () => make_(), png: async () => RV.pixels(make_())});
const words = element => element?.textContent.replace(/\s+/g, ' ').trim();
const shown = elements => [...elements].find(svg => svg.checkVisibility?.() ?? svg.getClientRects().length) || elements[0];

// --- the diagram ----------------------------------------------------------------------
const canvas = document.querySelector('.canvas .tools');
if (canvas) canvas.append(menu(say('diagram'), {
  ...drawing(() => {
    const {x, y, w, h} = graph.layout();
    return RV.standalone(document.getElementById('graph'), {box: [x, y, w, h], margin: 12, background: document.querySelector('.canvas')});
  }),
  csv: () => RV.csv([
    [say('Op'), say('Operation'), say('Output'), say('Params'), say('MACs'), '‖∇‖₂'],
    ...page.diagram.nodes.map(n => [n.id, n.label, n.note || n.shape || '', n.params ?? '', n.macs ?? '', n.l2 ?? '']),
  ]),
}));

// --- the gradient chart, the figures, the maps ----------------------------------------
const chart = document.querySelector('.chart > .tools'), flow = page.flow;
if (chart && flow) {
  const told = [...new Map(flow.axes.map(a => [a.key, a])).values()];
  chart.append(menu(say('gradient flow'), {
    ...drawing(() => RV.standalone(document.getElementById('flow-chart'), {margin: 8, background: document.querySelector('.chart')})),
    csv: () => RV.csv([
      [say('Op'), say('Layer'), say('Operation'), ...told.map(a => a.title)],
      ...flow.ops.map((op, i) => [op, flow.names[i], flow.whats[i], ...told.map(a => RV.numberIn(flow.series[a.key][i]) ?? flow.series[a.key][i])]),
    ]),
  }));
}
for (const figure of document.querySelectorAll('figure.plot, figure.cell, figure.kernels')) {
  const svgs = figure.querySelectorAll(figure.matches('.plot') ? 'svg.rv-figure' : 'svg'), name = words(figure.querySelector('h3, h4, h5'));
  if (!svgs.length) continue;
  figure.classList.add('keeps');
  figure.append(menu(name || say('figure {n}', {n: ++count}), drawing(() => RV.standalone(shown(svgs), {background: figure, margin: figure.matches('.plot') ? 12 : 0}))));
}

// --- the tables -----------------------------------------------------------------------
for (const wrap of document.querySelectorAll('main .tablewrap')) {
  const table = wrap.querySelector('table'), section = wrap.closest('section');
  if (!table || wrap.closest('figure')) continue;
  const before = wrap.previousElementSibling, title = before?.matches('h3, h4, .rowhead, .table-title') ? words(before.querySelector('h3') || before) : '';
  const name = [words(section?.querySelector('h2')), title || words(table.caption)].filter(Boolean).join(' ') || say('table {n}', {n: ++count});
  const panel = make('div', 'panel keeps');
  wrap.replaceWith(panel);
  panel.append(menu(name, {csv: () => RV.csv(RV.tableRows(table))}), wrap);
}
};
})();
