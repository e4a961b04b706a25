'use strict';
// The page around its parts: the theme, what happens on paper, and which section is being read.
(() => {
const RV = globalThis.RV = globalThis.RV || {};
const root = document.documentElement;

RV.theme = button => {
  const say = {auto: () => RV.say('Theme: automatic'), light: () => RV.say('Theme: light'), dark: () => RV.say('Theme: dark')};
  const names = Object.keys(say);
  const set = name => {
    root.dataset.theme = name;
    button.title = (say[name] || say.light)();
    button.setAttribute('aria-label', button.title);
  };
  button.addEventListener('click', () => set(names[(names.indexOf(root.dataset.theme) + 1) % names.length]));
  set(root.dataset.theme);
  return set;
};

// Paper is light and shows all of the drawing; what the reader left folded stays folded.
RV.paper = (set, graph) => {
  let before = null;
  addEventListener('beforeprint', () => {
    if (before) return;
    before = root.dataset.theme;
    set('light');
    graph.whole(true);
  });
  addEventListener('afterprint', () => {
    if (!before) return;
    set(before);
    before = null;
    graph.whole(false);
  });
};

// Papers are named in the text by their arXiv number; here it becomes a way to them. Nothing is
// loaded for it.
RV.papers = elements => {
  const name = /arXiv:(\d{4}\.\d{4,5})/;
  for (const element of elements) {
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT), texts = [];
    while (walker.nextNode()) if (name.test(walker.currentNode.data) && !walker.currentNode.parentElement.closest('a,button,svg,code,bdi')) texts.push(walker.currentNode);
    for (let text of texts) for (let found = name.exec(text.data); found; found = name.exec(text.data)) {
      const a = RV.make('a', 'source', found[0]), rest = text.splitText(found.index);
      a.href = 'https://arxiv.org/abs/' + found[1];
      a.target = '_blank';
      a.rel = 'noopener noreferrer';
      text = rest.splitText(found[0].length);
      rest.replaceWith(a);
    }
  }
};

RV.spy = links => {
  const byId = new Map([...links].map(a => [a.hash.slice(1), a])), seen = new Set();
  const spy = new IntersectionObserver(entries => {
    for (const e of entries) seen[e.isIntersecting ? 'add' : 'delete'](e.target.id);
    const current = [...byId.keys()].reverse().find(id => seen.has(id));
    for (const [id, a] of byId) if (id === current) a.setAttribute('aria-current', 'true'); else a.removeAttribute('aria-current');
  }, {rootMargin: '-70px 0px -60% 0px'});
  for (const id of byId.keys()) { const section = document.getElementById(id); if (section) spy.observe(section); }
};
})();
