'use strict';
// The page's data: JSON in a script element, as an object.
(() => {
const RV = globalThis.RV = globalThis.RV || {};
RV.read = async element => JSON.parse(element.textContent);
})();
