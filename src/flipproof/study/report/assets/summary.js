// The summary: codecs down, channels across; in each cell both conventions, their interval, and what was lost.

function drawSummary() {
  const metric = shownMetric();
  const series = shownSeries();
  const rows = codecsShown().map((codec) => ({ codec, line: series.channels.map((channel) => lookup(codec.index, channel)) }));
  const means = rows.flatMap(({ line }) => line.map((point) => point?.estimate("all", metric.name)?.mean)).filter((mean) => mean !== undefined);
  const heat = d3.scaleLinear(metric.higher ? d3.extent(means) : d3.extent(means).reverse(), [0, 100]);
  const columns = [
    { label: "Codec", cell: ({ codec }) => codecCell(codec), value: ({ codec }) => nameOf(codec) },
    { label: "Rate", sub: "bpp", cell: ({ line }) => fixed(meanRate(line), 3), value: ({ line }) => meanRate(line) },
    ...series.headings.map((label, index) => ({
      label,
      down: metric.higher,
      value: ({ line }) => line[index]?.estimate("all", metric.name)?.mean,
      cell: ({ line }) => summaryCell(line[index], metric, heat),
    })),
  ];
  const caption = `${metric.label}, ${place()}`;
  sortable(at("summary-table"), columns, rows, { caption, className: "summary" });
  at("summary-title").textContent = `${caption}: mean over all files, its 95 % interval; mean over files that decode, files lost`;
  at("summary-mark").hidden = !rows.some(({ line }) => line.some((point) => point && incomplete(point, metric)));
}

const meanRate = (line) => d3.mean(line.filter((point) => point?.files), (point) => point.bpp);
const incomplete = (point, metric) => ["all", "decodable"].some((files) => point.estimate(files, metric.name)?.complete === false);

function summaryCell(point, metric, heat) {
  const all = point?.estimate("all", metric.name);
  if (!point) return el("td", { class: "cell none" }, DASH);
  if (!point.files) return el("td", { class: "cell none" }, "not encoded");
  const interval = intervalText(all, metric).replace(" to ", DASH);
  const tint = all ? Math.round(heat(all.mean)) : 0;
  return el(
    "td",
    { class: "cell", style: `--p:${Number.isFinite(tint) ? tint : 50}`, title: aboutCell(point, all, metric) },
    el("b", {}, estimateText(all, metric)),
    el("span", { class: "interval" }, interval || "\u00a0"),
    el(
      "span",
      { class: "other" },
      estimateText(point.estimate("decodable", metric.name), metric),
      " · ",
      el("span", { class: point.failures ? "lost" : null }, `${percent(point.failure_rate)} lost`),
    ),
  );
}

function aboutCell(point, all, metric) {
  const other = point.estimate("decodable", metric.name);
  const of = (estimate) => (estimate ? `${estimateText(estimate, metric)} over ${count(estimate.pictures, "picture")}` : "none");
  const lost = `${exactPercent(point.failure_low)} to ${exactPercent(point.failure_high)}`;
  return [
    `${metric.label}, all files: ${of(all)}`,
    `files that decode: ${of(other)}${other && other.low !== null ? `, 95 % interval ${intervalText(other, metric)}` : ""}`,
    `${whole(point.failures)} of ${count(point.files, "file")} lost, 95 % interval ${lost}`,
    point.errors ? `${count(point.errors, "cell")} without a file` : "",
  ].filter(Boolean).join("\n");
}
