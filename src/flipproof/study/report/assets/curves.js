// Quality over what a channel does, quality over the rate, and files lost.

const FILES = { all: "all files", decodable: "files that decode" };

function estimateText(estimate, metric, { mark = true } = {}) {
  if (!estimate) return DASH;
  return fixed(estimate.mean, metric.digits) + (mark && !estimate.complete ? "†" : "");
}

function intervalText(estimate, metric) {
  if (!estimate || estimate.low === null) return "";
  return `${fixed(estimate.low, metric.digits)} to ${fixed(estimate.high, metric.digits)}`;
}

function aboutQuality(point, metric, files) {
  const estimate = point.estimate(files, metric.name);
  const unit = metric.unit && ` ${metric.unit}`;
  const interval = intervalText(estimate, metric);
  return [
    nameOf({ ...study.codecs[point.codec] }),
    `${study.channels[point.channel].caption} · ${fixed(point.bpp, 3)} bpp`,
    `${metric.label} ${fixed(estimate.mean, metric.digits)}${unit}, ${FILES[files]}`,
    interval ? `95 % interval ${interval}` : "no interval: one picture",
    `${count(estimate.pictures, "picture")}, ${count(point.files, "file")}, ${whole(point.failures)} lost (${percent(point.failure_rate)})`,
    estimate.complete ? null : `† not all of ${count(point.expected_pictures, "picture")} and their files`,
  ].filter(Boolean);
}

function aboutFailures(point) {
  return [
    nameOf({ ...study.codecs[point.codec] }),
    `${study.channels[point.channel].caption} · ${fixed(point.bpp, 3)} bpp`,
    `${exactPercent(point.failure_rate)} of the files have no picture`,
    `95 % interval ${exactPercent(point.failure_low)} to ${exactPercent(point.failure_high)}`,
    `${whole(point.failures)} of ${count(point.files, "file")}, ${count(point.pictures, "picture")}`,
  ];
}

// One line per codec over the channels of a series, each set a little aside so that equal values stay visible.
function overChannels(value) {
  const series = shownSeries();
  const codecs = codecsDrawn();
  return codecs.map((codec, index) => ({
    family: codec.family,
    label: state.rate === "all" ? nameOf(codec) : study.families[codec.family].label,
    offset: codecs.length > 1 ? (index / (codecs.length - 1) - 0.5) * Math.min(22, 3 * codecs.length) : 0,
    points: series.channels.flatMap((channel, x) => {
      const point = lookup(codec.index, channel);
      const found = point && value(point, study.channels[channel]);
      return found ? [{ x, apart: study.channels[channel].clean && !series.zero, ...found }] : [];
    }),
  }));
}

function channelAxis(width) {
  const { axis, ticks } = shownSeries();
  const crowded = width / ticks.length < 9 * d3.max(ticks, (tick) => tick.length);
  return {
    type: "point",
    domain: d3.range(ticks.length),
    padding: 0.4,
    tickFormat: (index) => ticks[index],
    tickRotate: crowded ? -30 : 0,
    label: axis || null,
    tickSize: 4,
  };
}

function spotOf(point, estimate, metric) {
  const { mean, low, high, complete } = estimate;
  return { y: mean, low, high, hollow: !complete, about: aboutQuality(point, metric, state.files) };
}

function drawQuality(width) {
  const metric = shownMetric();
  const lines = overChannels((point) => {
    const estimate = point.estimate(state.files, metric.name);
    return estimate && spotOf(point, estimate, metric);
  });
  const title = `${metric.label} of ${FILES[state.files]}, ${place()}`;
  lineChart(at("quality"), { lines, x: channelAxis(width), y: metricAxis(metric), width, height: heightFor(width, 430), title });
  at("quality-title").textContent = title;
}

function metricAxis(metric) {
  const better = metric.higher ? "higher is better" : "lower is better";
  return { label: `${metric.label}${metric.unit ? `, ${metric.unit}` : ""} (${better})`, nice: true };
}

const heightFor = (width, full) => Math.round(Math.max(0.62 * full, Math.min(full, 0.85 * width)));

function drawFailures(width) {
  const lines = overChannels((point, channel) => {
    if (!point.files) return null;
    const [low, high] = channel.clean ? [null, null] : [100 * point.failure_low, 100 * point.failure_high];
    return { y: 100 * point.failure_rate, low, high, about: aboutFailures(point) };
  });
  const title = `Files without a picture, ${place()}`;
  const most = d3.max(lines, (line) => d3.max(line.points, (point) => point.high ?? point.y)) ?? 100;
  const y = { label: "Files without a picture, %", domain: [0, [5, 10, 25, 50, 75, 100].find((top) => top >= most)] };
  lineChart(at("failures"), { lines, x: channelAxis(width), y, width, height: heightFor(width, 290), title });
  at("failures-title").textContent = title;
}

// One line per family through its rates, on one channel.
function drawRate(width) {
  const metric = shownMetric();
  const channel = study.channels.findIndex((each) => each.spelling === state.at);
  const lines = [...byFamily].filter(([family]) => !hidden(family)).map(([family, codecs]) => ({
    family,
    label: study.families[family].label,
    points: d3.sort(codecs.flatMap((codec) => ratePoint(codec, channel, metric)), (point) => point.x),
  }));
  const sizes = lines.flatMap((line) => line.points.map((point) => point.x));
  const logarithmic = d3.max(sizes) > 6 * d3.min(sizes);
  const x = {
    label: logarithmic ? "Rate of the whole file, bits per pixel (logarithmic)" : "Rate of the whole file, bits per pixel",
    type: logarithmic ? "log" : "linear",
    nice: !logarithmic,
    inset: 14,
    ticks: width < 500 ? 4 : 7,
    tickFormat: (value) => String(Number(value.toPrecision(2))),
  };
  const title = `${metric.label} of ${FILES[state.files]} by rate, ${study.channels[channel].caption}, ${study.datasets[shownDataset()]}`;
  lineChart(at("rate"), { lines, x, y: metricAxis(metric), width, height: heightFor(width, 400), title });
  at("rate-title").textContent = title;
}

function ratePoint(codec, channel, metric) {
  const point = lookup(codec.index, channel);
  const estimate = point && point.estimate(state.files, metric.name);
  if (!estimate || !(point.bpp > 0)) return [];
  return [{ x: point.bpp, ...spotOf(point, estimate, metric) }];
}

function startCurves() {
  const common = ["metric", "files", "data", "channels", "rate", "hide"];
  onState(["rate", "hide"], drawLegend);
  for (const [id, draw, keys] of [
    ["quality", drawQuality, common],
    ["failures", drawFailures, ["data", "channels", "rate", "hide"]],
    ["rate", drawRate, ["metric", "files", "data", "at", "hide"]],
  ]) {
    let width = 0;
    onState(keys, () => width && draw(width));
    onWidth(at(id), (now) => draw((width = now)));
  }
  const channels = study.channels.map((channel) => [channel.spelling, channel.caption]);
  at("rate-controls").append(chooser("Channel", "at", channels, state.at) ?? "");
}
