// Codecs against an anchor: paired differences, gaps between curves; and published values beside measured ones.

const pairs = d3.range(data.differences.codec.length).map((index) =>
  Object.fromEntries(Object.entries(data.differences).map(([key, column]) => [key, column[index]])),
);
const pairAt = d3.rollup(pairs, ([pair]) => pair, (pair) => pair.metric, (pair) => pair.dataset, (pair) => pair.channel, (pair) => pair.codec, (pair) => pair.other);

// What `codec` has over `anchor`; each pair is kept one way round.
function difference(codec, anchor, channel, metric, dataset) {
  const at = pairAt.get(metric)?.get(dataset)?.get(channel);
  const there = at?.get(codec)?.get(anchor);
  if (there) return there;
  const back = at?.get(anchor)?.get(codec);
  const turned = (value) => (value === null ? null : -value);
  return back && { ...back, mean: -back.mean, low: turned(back.high), high: turned(back.low) };
}

function anchorCodec() {
  const shown = codecsShown();
  return shown.find((codec) => codec.spelling === state.anchor) ?? shown.find((codec) => study.families[codec.family].spelling === state.anchor) ?? shown[0];
}

function drawDifferences() {
  const section = at("differences-section");
  section.hidden = !pairs.length || codecsShown().length < 2;
  if (section.hidden) return;
  const [anchor, series, dataset] = [anchorCodec(), shownSeries(), shownDataset()];
  const metric = pairAt.has(state.metric) ? shownMetric() : study.metrics[0];
  at("anchor-controls").replaceChildren(chooser("Compared with", "anchor", codecsShown().map((codec) => [codec.spelling, nameOf(codec)]), anchor.spelling) ?? "");
  const rows = codecsShown().filter((codec) => codec !== anchor).map((codec) => ({
    codec,
    line: series.channels.map((channel) => difference(codec.index, anchor.index, channel, metric.name, dataset)),
  }));
  const largest = d3.max(rows, ({ line }) => d3.max(line, (pair) => Math.abs(pair?.mean ?? 0))) || 1;
  const columns = [
    { label: "Codec", cell: ({ codec }) => codecCell(codec), value: ({ codec }) => nameOf(codec) },
    ...series.headings.map((label, index) => ({
      label,
      down: metric.higher,
      value: ({ line }) => line[index]?.mean,
      cell: ({ line }) => differenceCell(line[index], metric, largest),
    })),
  ];
  const unit = metric.unit ? ` in ${metric.unit}` : "";
  const caption = `${metric.label} less that of ${nameOf(anchor)}${unit}, ${place()}`;
  sortable(at("differences"), columns, rows, { caption, className: "summary" });
  at("differences-title").textContent = caption;
}

function differenceCell(pair, metric, largest) {
  if (!pair) return el("td", { class: "cell none" }, DASH);
  const gain = metric.higher ? pair.mean : -pair.mean;
  const decided = pair.low !== null && (pair.low > 0 || pair.high < 0);
  const interval = pair.low === null ? "one picture" : `${signed(pair.low, metric.digits)} to ${signed(pair.high, metric.digits)}`;
  const tint = `--p:${decided ? Math.round((100 * Math.abs(gain)) / largest) : 0};--heat:var(${gain > 0 ? "--better" : "--worse"})`;
  const about = `${count(pair.pictures, "picture")}, ${count(pair.pairs, "pair")} of files${pair.left_out ? `; † ${count(pair.left_out, "file")} without a pair` : ""}`;
  return el(
    "td",
    { class: decided ? "cell" : "cell open", style: tint, title: about },
    el("b", {}, signed(pair.mean, metric.digits) + (pair.left_out ? "†" : "")),
    el("span", { class: "interval" }, interval),
  );
}

function drawGaps() {
  const dataset = study.datasets[shownDataset()];
  const [rate, ber] = [data.gaps.rate, data.gaps.ber];
  at("gaps-section").hidden = !rate.length && !ber.length;
  const anchor = anchorCodec();
  const family = study.families[anchor.family].spelling;
  const own = (gaps, name) => gaps.filter((gap) => gap.dataset === dataset && gap.metric === state.metric && gap.anchor === name);
  const ofRate = own(rate, family);
  const shown = new Set(codecsShown().map((codec) => codec.spelling));
  const ofBer = own(ber, anchor.spelling).filter((gap) => shown.has(gap.name));
  const metric = shownMetric();
  gapTable("bd-rate", ofRate, familyNamed, family, (value) => `${signed(value, 1)} %`, "BD-rate at equal " + metric.label);
  gapTable("bd-ber", ofBer, codecNamed, anchor.spelling, (value) => signed(value, metric.digits), `${metric.label}, mean difference over bit error rates`);
}

const familyNamed = (spelling) => {
  const family = study.families.findIndex((each) => each.spelling === spelling);
  return { family, label: study.families[family].label };
};

const codecNamed = (spelling) => {
  const codec = measured.find((each) => each.spelling === spelling);
  return { family: codec.family, label: nameOf(codec) };
};

function gapTable(id, gaps, named, anchor, write, title) {
  at(id).hidden = !gaps.length;
  if (!gaps.length) return;
  at(`${id}-title`).textContent = `${title}, against ${named(anchor).label}`;
  const byRate = id === "bd-rate";
  const channels = byRate ? shownSeries().channels.map((channel) => study.channels[channel].spelling) : [""];
  const headings = byRate ? shownSeries().headings : ["all bit error rates"];
  const rows = d3.groups(gaps, (gap) => gap.name).map(([name, own]) => ({
    ...named(name),
    line: channels.map((channel) => own.find((gap) => gap.channel === channel)),
  }));
  const columns = [
    { label: "Codec", cell: ({ family, label }) => [mark(family), el("span", { class: "name" }, label)], value: ({ label }) => label },
    ...headings.map((heading, index) => ({
      label: heading,
      value: ({ line }) => line[index]?.value,
      cell: ({ line }) => gapCell(line[index], write),
    })),
  ];
  sortable(at(`${id}-table`), columns, rows, { caption: title, className: "slim" });
  const reasons = [...new Set(rows.flatMap(({ line }) => line.map((gap) => gap?.reason).filter(Boolean)))];
  at(`${id}-reasons`).textContent = reasons.length ? `No value where: ${reasons.join("; ")}.` : "";
}

function gapCell(gap, write) {
  if (!gap || gap.value === null) return el("td", { title: gap?.reason, class: "hollow" }, DASH);
  const about = `over ${percent(gap.overlap)} of the narrower curve${gap.left_out ? `; † ${count(gap.left_out, "point")} left out` : ""}`;
  return el("td", { title: about }, write(gap.value) + (gap.left_out ? "†" : ""));
}
