'use strict';
// Starts the page: the code is deflated like the data, and the policy knows its hash.
(() => {
const code = document.createElement('script');
globalThis.RV.read(document.getElementById('code')).then(text => {
  code.textContent = text;
  document.body.append(code);
});
})();
