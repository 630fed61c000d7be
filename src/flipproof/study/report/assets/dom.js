// Elements from JavaScript. Text always goes in as text, so nothing in a study's names can become markup.

const SVG = "http://www.w3.org/2000/svg";

const at = (id) => document.getElementById(id);

// el("td", { class: "cell", onclick }, "text", child): attributes, properties that start with "on", and children.
function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// A select element that shows and sets a key of the state. Options are [value, label] pairs; one option needs no choice.
function chooser(label, key, options, current) {
  if (options.length < 2) return null;
  const select = el("select", { "data-key": key, onchange: (event) => setState({ [key]: event.target.value }) });
  for (const [value, text] of options) select.append(el("option", { value, selected: value === current }, text));
  return el("label", { class: "field" }, el("span", {}, label), select);
}

// Calls a function with the width of an element, now and whenever it changes.
function onWidth(element, draw) {
  let last = 0;
  new ResizeObserver(() => {
    const width = Math.floor(element.clientWidth);
    if (width && Math.abs(width - last) > 1) draw((last = width));
  }).observe(element);
}
