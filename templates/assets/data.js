'use strict';
// The page's data: JSON in a script element, or a JSON text of deflated JSON in base64.
// Where a browser cannot inflate, the page stays as it is without scripts and says so.
(() => {
const RV = globalThis.RV = globalThis.RV || {};

const bytes = text => {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const letters = atob(text), out = new Uint8Array(letters.length);
  for (let i = 0; i < out.length; i++) out[i] = letters.charCodeAt(i);
  return out;
};
const inflate = async text => {
  const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
  return JSON.parse(await new Response(stream).text());
};

RV.read = async element => {
  const found = JSON.parse(element.textContent);
  if (typeof found !== 'string') return found;
  try {
    return await inflate(found);
  } catch (error) {
    document.documentElement.classList.add('nojs');
    const told = document.getElementById('unread');
    if (told) told.hidden = false;
    return new Promise(() => {});
  }
};
})();
