// The study, from the JSON block of the page: points as objects, and what belongs to what.

const data = JSON.parse(at("data").textContent);
const study = data.study;

const points = study.points.codec.map((_, index) => {
  const point = {};
  for (const [key, column] of Object.entries(study.points)) if (Array.isArray(column)) point[key] = column[index];
  point.family = study.codecs[point.codec].family;
  point.estimate = (files, metric) => {
    const columns = study.points[files][metric];
    if (columns.mean[index] === null) return null;
    return Object.fromEntries(Object.entries(columns).map(([key, column]) => [key, column[index]]));
  };
  return point;
});

const pointAt = d3.rollup(points, ([point]) => point, (point) => point.dataset, (point) => point.codec, (point) => point.channel);

const measured = study.codecs.map((codec, index) => ({ ...codec, index })).filter((codec) => codec.family !== null);
const byFamily = d3.group(measured, (codec) => codec.family);
const rates = [...new Set(measured.map((codec) => codec.asked).filter((rate) => rate !== null))].sort((a, b) => a - b);
const severalRates = [...byFamily.values()].some((codecs) => codecs.length > 1);

// Eight colours and seven shapes: the pairs repeat after 56.
const SHAPES = [d3.symbolCircle, d3.symbolSquare, d3.symbolTriangle, d3.symbolDiamond, d3.symbolCross, d3.symbolStar, d3.symbolWye];
const look = (family) => ({
  color: `var(--c${family % 8})`,
  shape: SHAPES[family % SHAPES.length],
  dash: ["", "6 3", "2 3"][Math.floor(family / 8) % 3],
});

const metricNamed = (name) => study.metrics.find((metric) => metric.name === name);
const shownMetric = () => metricNamed(state.metric);
const shownDataset = () => Math.max(0, study.datasets.indexOf(state.data));
const shownSeries = () => study.series.find((series) => series.title === state.channels) ?? study.series[0];
const lookup = (codec, channel, dataset = shownDataset()) => pointAt.get(dataset)?.get(codec)?.get(channel);

// Of every family its codec at the chosen rate; a family with one rate is always there.
function codecsShown() {
  if (!severalRates || state.rate === "all") return measured;
  return measured.filter((codec) => byFamily.get(codec.family).length === 1 || String(codec.asked) === state.rate);
}

const hidden = (family) => state.hide.includes(study.families[family].spelling);
const codecsDrawn = () => codecsShown().filter((codec) => !hidden(codec.family));

// What all sections show, for titles.
function place() {
  const rate = severalRates && state.rate !== "all" ? [`${state.rate} bpp`] : [];
  return [study.datasets[shownDataset()], shownSeries().title, ...rate].join(", ");
}

function nameOf(codec) {
  const family = study.families[codec.family].label;
  const several = severalRates && byFamily.get(codec.family).length > 1;
  return several ? `${family} at ${codec.asked} bpp` : family;
}
