'use strict';
// The address of what is selected: #layer3.0 opens, selects and shows it. Where a section of the
// page has that name the module is #/name, and sections keep theirs.
(() => {
const RV = globalThis.RV = globalThis.RV || {};
// A frame without an address of its own (a notebook's) cannot have one written.
const addressed = () => location.protocol !== 'about:' && location.protocol !== 'data:';

RV.hashOf = name => {
  const written = encodeURIComponent(String(name).toWellFormed?.() ?? name).replaceAll('%2F', '/');
  return '#' + (document.getElementById(name) || written.startsWith('/') ? '/' : '') + written;
};
RV.nameOf = hash => {
  const raw = hash.replace(/^#/, '');
  let name = raw;
  try { name = decodeURIComponent(raw); } catch { /* a stray % is a % */ }
  if (!name.startsWith('/') && document.getElementById(name)) return null;
  return name.replace(/^\//, '') || null;
};

// `go(name)` selects what is called so; it answers whether there is such a thing.
RV.links = go => {
let due = 0, wanted = '', was = '';
const write = name => {
  if (!addressed()) return;
  wanted = name == null ? '' : RV.hashOf(name);
  was = location.hash;
  // Browsers refuse more than a few of these a second; who holds an arrow key passes many ops.
  due ||= setTimeout(() => {
    due = 0;
    const here = location.href.split('#')[0];
    // Who has gone elsewhere in the meantime is not called back.
    if (location.hash === was && was !== wanted) history.replaceState(history.state, '', here + wanted);
  }, 180);
};
const read = () => {
  const name = RV.nameOf(location.hash);
  return name != null && go(name);
};
addEventListener('hashchange', () => { clearTimeout(due); due = 0; read(); });
return {write, read};
};
})();
