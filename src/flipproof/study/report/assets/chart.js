// Line charts: one line per codec, with intervals, drawn by Observable Plot; and what shows the numbers behind a point.

const LABELLED = 8; // lines that can be named at their ends without clutter
const REACH = 36; // pixels around a point in which the pointer finds it

// lines: [{ family, label, offset, points: [{ x, y, low, high, hollow, apart, about }] }]; `about` describes a point as
// [heading, ...lines]. x, y: options of Plot's scales.
function lineChart(place, { lines, x, y, width, height, title }) {
  const known = lines.filter((line) => line.points.length);
  const named = known.length > 0 && known.length <= LABELLED && width >= 600;
  const right = named ? 30 + Math.min(190, 6.7 * d3.max(known, (line) => line.label.length)) : 16;
  const chart = Plot.plot({
    width,
    height,
    marginLeft: 52,
    marginRight: right,
    marginBottom: x.tickRotate ? 66 : 42,
    marginTop: 26,
    style: { fontFamily: "inherit", fontSize: "12.5px", background: "transparent", overflow: "visible" },
    x: { labelAnchor: "center", labelArrow: "none", ...x },
    y: { grid: true, insetBottom: 8, ticks: Math.max(3, Math.round(height / 62)), tickSize: 0, labelArrow: "none", ...y },
    marks: known.flatMap(marksOf),
  });
  asPicture(chart, title);
  nameGroups(chart, known);
  const spots = spotsOf(chart, known);
  if (named) labelEnds(chart, spots, width - right);
  place.replaceChildren(chart);
  if (!known.length) place.append(el("p", { class: "empty" }, "Nothing to show: every codec is hidden, or has no such value."));
  inspect(place, spots);
}

// To a screen reader a chart is one picture with a name; Plot's names of its parts stay as data-mark.
function asPicture(chart, title) {
  for (const part of chart.querySelectorAll("[aria-label]")) {
    part.dataset.mark = part.getAttribute("aria-label");
    part.removeAttribute("aria-label");
    part.removeAttribute("aria-description");
  }
  chart.setAttribute("role", "img");
  chart.setAttribute("aria-label", title);
}

function marksOf({ family, points: own, offset = 0 }) {
  const { color, shape, dash } = look(family);
  const className = `f${family}`;
  const joined = own.flatMap((point) => (point.apart ? [{ ...point, y: NaN }] : [point]));
  const bars = own.filter((point) => point.low !== null && point.low !== undefined);
  return [
    Plot.ruleX(bars, { x: "x", y1: "low", y2: "high", stroke: color, strokeWidth: 1.3, strokeOpacity: 0.5, dx: offset, className }),
    Plot.lineY(joined, { x: "x", y: "y", stroke: color, strokeWidth: 2, strokeDasharray: dash, dx: offset, className }),
    Plot.dot(own, { x: "x", y: "y", fill: (point) => (point.hollow ? "var(--paper)" : color), stroke: color, symbol: shape, r: 4, dx: offset, className }),
  ];
}

function nameGroups(chart, lines) {
  for (const { family } of lines) {
    for (const group of chart.querySelectorAll(`.f${family}`)) group.dataset.family = family;
  }
}

// Where every point is, in the chart's own pixels.
function spotsOf(chart, lines) {
  const [x, y] = [chart.scale("x"), chart.scale("y")];
  return lines.flatMap((line) =>
    line.points.map((point) => ({ line, point, x: x.apply(point.x) + (line.offset ?? 0), y: y.apply(point.y) })),
  );
}

// Names lines at their right ends, pushed apart so that no two overlap.
function labelEnds(chart, spots, edge) {
  const STEP = 16;
  const ends = d3.groups(spots, (spot) => spot.line).map(([, own]) => d3.greatest(own, (spot) => spot.x));
  ends.sort((a, b) => a.y - b.y);
  const places = ends.map((spot) => spot.y);
  for (let pass = 0; pass < 60; pass++) {
    for (let i = 1; i < places.length; i++) {
      const overlap = STEP - (places[i] - places[i - 1]);
      if (overlap > 0) (places[i] += overlap / 2), (places[i - 1] -= overlap / 2);
    }
  }
  const group = svg("g", { class: "ends" });
  ends.forEach((spot, index) => {
    const { family, label } = spot.line;
    const leader = svg("path", { d: `M${spot.x + 7},${spot.y}L${edge + 8},${places[index]}`, class: "leader" });
    const style = `text-anchor: start; fill: ${look(family).color}`;
    const text = svg("text", { x: edge + 12, y: places[index], dy: "0.34em", style }, label);
    group.append(svg("g", { "data-family": family }, leader, text));
  });
  chart.append(group);
}

// Shows what is behind the point that is pointed at, tapped, or reached by the arrow keys.
function inspect(place, spots) {
  const chart = place.querySelector("svg");
  const tip = el("div", { class: "tip", role: "status", "aria-live": "polite", hidden: true });
  const ring = svg("circle", { class: "ring", r: 8, visibility: "hidden" });
  chart.append(ring);
  place.append(tip);
  place.tabIndex = 0;
  place.setAttribute("role", "group");
  place.setAttribute("aria-label", "Figure: arrow keys go from point to point");
  let current = null;
  const show = (spot) => {
    if (spot === current) return;
    current = spot;
    tip.hidden = !spot;
    ring.setAttribute("visibility", spot ? "visible" : "hidden");
    bringOut(spot ? spot.line.family : null);
    if (!spot) return;
    ring.setAttribute("cx", spot.x);
    ring.setAttribute("cy", spot.y);
    ring.style.stroke = look(spot.line.family).color;
    const [heading, ...facts] = spot.point.about;
    tip.replaceChildren(el("b", {}, mark(spot.line.family), heading), ...facts.map((fact) => el("span", {}, fact)));
    placeTip(tip, place, chart, spot);
  };
  const nearest = (event) => {
    const [x, y] = d3.pointer(event, chart);
    const spot = d3.least(spots, (each) => Math.hypot(each.x - x, each.y - y));
    return spot && Math.hypot(spot.x - x, spot.y - y) <= REACH ? spot : null;
  };
  place.onpointermove = (event) => show(nearest(event));
  place.onpointerdown = (event) => show(nearest(event));
  place.onpointerleave = (event) => event.pointerType === "mouse" && show(null);
  place.onblur = () => show(null);
  place.onkeydown = (event) => {
    const next = event.key === "Escape" ? null : beside(spots, current, event.key);
    if (next === undefined) return;
    event.preventDefault();
    show(next);
  };
}

function placeTip(tip, place, chart, spot) {
  const scale = chart.getBoundingClientRect().width / chart.viewBox.baseVal.width;
  const [x, y] = [spot.x * scale, spot.y * scale];
  const left = x + 16 + tip.offsetWidth > place.clientWidth ? x - tip.offsetWidth - 16 : x + 16;
  tip.style.left = `${Math.max(0, left)}px`;
  tip.style.top = `${Math.max(0, Math.min(y - tip.offsetHeight / 2, chart.clientHeight - tip.offsetHeight))}px`;
}

// Left and right follow a line; up and down go to the next line at the same place.
function beside(spots, current, key) {
  if (!["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"].includes(key)) return undefined;
  if (!current) return spots[0];
  const along = key === "ArrowLeft" || key === "ArrowRight";
  const peers = spots.filter((spot) => (along ? spot.line === current.line : spot.point.x === current.point.x));
  peers.sort((a, b) => (along ? a.x - b.x : a.y - b.y));
  const step = key === "ArrowRight" || key === "ArrowDown" ? 1 : -1;
  return peers[peers.indexOf(current) + step] ?? current;
}
