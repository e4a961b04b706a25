'use strict';
// Keys that hold anywhere on the page; what moves in the diagram is the diagram's.
(() => {
const RV = globalThis.RV = globalThis.RV || {};

// `does` maps a key to what it does; nothing happens while somebody types or a dialog is open.
RV.keys = does => {
addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || document.querySelector('dialog[open]')) return;
  const here = document.activeElement;
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(here?.tagName) && !/^(checkbox|radio)$/.test(here.type) || here?.isContentEditable) return;
  if (!Object.hasOwn(does, event.key)) return;
  does[event.key]();
  event.preventDefault();
});
};

// The list of keys, in a dialog: the browser keeps the focus in it and gives it back.
RV.help = (dialog, opener) => {
  const open = () => dialog.showModal();
  opener.addEventListener('click', open);
  dialog.querySelector('button').addEventListener('click', () => dialog.close());
  // A click beside it closes it.
  dialog.addEventListener('click', event => { if (event.target === dialog) dialog.close(); });
  return open;
};
})();
