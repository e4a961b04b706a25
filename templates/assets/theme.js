// Runs before the first paint: the theme, and what only works with scripts.
(() => {
const root = document.documentElement;
const dark = matchMedia('(prefers-color-scheme: dark)');
const show = () => {
  const name = root.dataset.theme;
  root.classList.toggle('dark', name === 'dark' || (name === 'auto' && dark.matches));
  dispatchEvent(new Event('themechange'));
};
root.classList.remove('nojs');
dark.addEventListener('change', show);
new MutationObserver(show).observe(root, {attributes: true, attributeFilter: ['data-theme']});
show();
})();
