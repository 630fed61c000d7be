// Tables that sort by their headings.

// columns: [{ label, sub, cell(row) -> element or text, value(row) -> number or text, class, down, title }], the first
// is the row's heading. Columns without a value do not sort. `down` sorts the highest first.
function sortable(place, columns, rows, { caption, sort = null, limit = Infinity, className = "" } = {}) {
  let order = place.dataset.sort ? JSON.parse(place.dataset.sort) : sort;
  let all = false;
  const draw = () => {
    place.dataset.sort = JSON.stringify(order);
    const sorted = inOrder(rows, columns, order);
    const shown = all ? sorted : sorted.slice(0, limit);
    const head = el("thead", {}, el("tr", {}, columns.map((column, index) => heading(column, index, order, sortBy))));
    const body = el("tbody", {}, shown.map((row) => el("tr", {}, columns.map((column, index) => cell(column, row, index)))));
    const table = el("table", { class: className }, caption && el("caption", { class: "hush" }, caption), head, body);
    const more = shown.length < sorted.length && el("button", { class: "quiet", onclick: () => ((all = true), draw()) }, `Show all ${rows.length}`);
    place.replaceChildren(el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption ?? "table" }, table));
    if (more) place.append(more);
  };
  const sortBy = (index) => {
    const down = order?.index === index ? !order.down : Boolean(columns[index].down);
    order = { index, down };
    draw();
    place.querySelectorAll("thead th")[index].querySelector("button")?.focus();
  };
  draw();
}

function heading(column, index, order, sortBy) {
  const active = order?.index === index;
  const sorted = active ? (order.down ? "descending" : "ascending") : null;
  const arrow = el("span", { class: "arrow", "aria-hidden": "true" }, active ? (order.down ? "↓" : "↑") : "");
  const text = [column.label, arrow, column.sub && el("small", {}, column.sub)];
  const content = column.value ? el("button", { onclick: () => sortBy(index) }, text) : el("span", {}, text);
  return el("th", { scope: "col", "aria-sort": sorted, class: column.class, title: column.title }, content);
}

function cell(column, row, index) {
  const content = column.cell(row);
  if (content instanceof Element && content.matches("td, th")) return content;
  return el(index ? "td" : "th", { scope: index ? null : "row", class: column.class }, content);
}

function inOrder(rows, columns, order) {
  const value = order && columns[order.index]?.value;
  if (!value) return rows;
  const missing = (row) => value(row) === null || value(row) === undefined;
  const known = rows.filter((row) => !missing(row));
  known.sort((a, b) => (order.down ? d3.descending : d3.ascending)(value(a), value(b)));
  return [...known, ...rows.filter(missing)];
}

// A codec's name with the mark it has in the figures, and its spelling where that says more.
function codecCell(codec) {
  const name = nameOf(codec);
  return [mark(codec.family), el("span", { class: "name" }, name), codec.spelling !== name && el("small", { class: "spelling" }, codec.spelling)];
}

function mark(family, size = 12) {
  const { color, shape } = look(family);
  const path = svg("path", { d: d3.symbol(shape, size * 4.2)(), fill: color });
  return svg("svg", { class: "mark", width: size, height: size, viewBox: `${-size / 2} ${-size / 2} ${size} ${size}`, "aria-hidden": "true" }, path);
}
