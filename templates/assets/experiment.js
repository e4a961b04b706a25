'use strict';
// The theme button, the light theme and nothing folded on paper, and which section is being read.
(() => {
const root = document.documentElement, button = document.getElementById('theme');
const NAMES = {auto: 'automatic', light: 'light', dark: 'dark'};
const theme = name => {
  root.dataset.theme = name;
  button.title = `Theme: ${NAMES[name]}`;
  button.setAttribute('aria-label', button.title);
};
button.addEventListener('click', () => {
  const names = Object.keys(NAMES);
  theme(names[(names.indexOf(root.dataset.theme) + 1) % names.length]);
});
theme(root.dataset.theme);
let before = null, folded = [];
addEventListener('beforeprint', () => {
  before = root.dataset.theme;
  theme('light');
  folded = [...document.querySelectorAll('details:not([open])')];
  for (const d of folded) d.open = true;
});
addEventListener('afterprint', () => {
  if (before) theme(before);
  for (const d of folded) d.open = false;
});

const links = new Map([...document.querySelectorAll('.topbar nav a')].map(a => [a.hash.slice(1), a]));
const seen = new Set();
const spy = new IntersectionObserver(entries => {
  for (const e of entries) seen[e.isIntersecting ? 'add' : 'delete'](e.target.id);
  const current = [...links.keys()].reverse().find(id => seen.has(id));
  for (const [id, a] of links) a.toggleAttribute('aria-current', id === current);
}, {rootMargin: '-70px 0px -60% 0px'});
for (const id of links.keys()) spy.observe(document.getElementById(id));
})();
