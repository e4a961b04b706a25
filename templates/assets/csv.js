'use strict';
// Tables as CSV (RFC 4180): numbers as numbers, and no text that a spreadsheet would run.
(() => {
const RV = globalThis.RV = globalThis.RV || {};
const SI = {'': 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15};
const NUMBER = /^([-−+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:e[-+−]?\d+)?)(?:\s?([kMGTP]?)B?)?$/i;

// The number a text says, without its unit; undefined where it says none.
RV.numberIn = text => {
  const [, digits, prefix = ''] = NUMBER.exec(text.trim().replaceAll('\u2068', '').replaceAll('\u2069', '')) || [];
  const scale = SI[prefix] ?? SI[prefix.toUpperCase()];
  if (digits === undefined || scale === undefined) return undefined;
  // Scaled in text, so that 36.9 k is 36900 and no binary neighbour of it.
  return Number(Number(digits.replaceAll(',', '').replaceAll('−', '-')).toPrecision(15) + 'e' + Math.log10(scale));
};
// A text that begins like a formula is quoted for the spreadsheet, and then for the CSV.
const field = value => {
  if (typeof value === 'number') return Number.isFinite(value) ? String(value) : '';
  let text = String(value ?? '');
  if (/^[\s\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]*[=+\-@＝＋－＠\t\r]/.test(text)) text = "'" + text;
  return /[",\r\n]/.test(text) || /^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};
// Spreadsheets take a file for UTF-8 where it begins with the mark.
RV.csv = rows => '\ufeff' + rows.map(row => row.map(field).join(',') + '\r\n').join('');

RV.tableRows = table => {
  const heads = [...table.querySelectorAll('thead th')], numeric = heads.map(th => th.classList.contains('num'));
  const textOf = cell => { const copy = cell.cloneNode(true); for (const gone of copy.querySelectorAll('svg title')) gone.remove(); return copy.textContent.replace(/\s+/g, ' ').trim(); };
  const value = (cell, i) => {
    if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
    const text = textOf(cell);
    if (text === '–') return '';
    const number = numeric[i] || cell.classList.contains('num') ? RV.numberIn(text) : undefined;
    return number ?? text;
  };
  const whole = RV.whole?.get(table), said = (text, i) => (text === '–' ? '' : (numeric[i] ? RV.numberIn(text) : undefined) ?? text);
  if (whole) return [heads.map(textOf), ...whole().map(row => row.map(said))];
  const rows = [...table.tBodies].flatMap(body => [...body.rows]).map(row => [...row.cells].map(value));
  return heads.length ? [heads.map(textOf), ...rows] : rows;
};
})();
