// What a codec costs: seconds, and where the bits of its file go.

const PARTS = [
  { key: "header_bits", label: "header", short: "header", color: "var(--c6)" },
  { key: "index_bits", label: "indices and other data", short: "data", color: "var(--c0)" },
  { key: "sign_bits", label: "signs and coefficients", short: "signs", color: "var(--c2)" },
  { key: "parity_bits", label: "parity", short: "parity", color: "var(--c4)" },
];

function drawCost() {
  const dataset = shownDataset();
  const rows = codecsShown().flatMap((codec) => {
    const point = [...(pointAt.get(dataset)?.get(codec.index)?.values() ?? [])].find((each) => each.files);
    const device = data.devices.find((each) => each.dataset === dataset && each.codec === codec.index);
    return point ? [{ codec, point, device }] : [];
  });
  const most = d3.max(rows, ({ point }) => d3.sum(PARTS, ({ key }) => point[key])) || 1;
  const columns = [
    { label: "Codec", cell: ({ codec }) => codecCell(codec), value: ({ codec }) => nameOf(codec) },
    { label: "Rate", sub: "bpp", cell: ({ point }) => fixed(point.bpp, 3), value: ({ point }) => point.bpp },
    {
      label: "Bits of the file",
      class: "wide",
      cell: ({ point }) => bitsBar(point, most),
      value: ({ point }) => d3.sum(PARTS, ({ key }) => point[key]),
    },
    { label: "Encode", sub: "per picture", cell: ({ point }) => seconds(point.encode_seconds), value: ({ point }) => point.encode_seconds },
    { label: "Decode", sub: "per file", cell: ({ point }) => seconds(point.decode_seconds), value: ({ point }) => point.decode_seconds },
    { label: "Batch", sub: "files", cell: ({ device }) => (device ? whole(device.batch) : DASH), value: ({ device }) => device?.batch },
    { label: "Device", class: "words", cell: ({ device }) => deviceText(device), value: ({ device }) => deviceText(device) },
  ];
  sortable(at("cost-table"), columns, rows, { caption: `Cost, ${study.datasets[dataset]}`, className: "cost" });
  at("cost-legend").replaceChildren(...PARTS.map(({ label, color }) => el("span", { class: "kind" }, el("i", { style: `background:${color}` }), label)));
}

function deviceText(device) {
  if (!device) return DASH;
  return device.devices.join(", ") + (device.hosts > 1 ? ` on ${device.hosts} machines` : "");
}

function bitsBar(point, most) {
  const parts = PARTS.filter(({ key }) => point[key] > 0);
  const text = parts.map(({ key, short }) => `${whole(point[key])} ${short}`).join(" · ");
  const bar = parts.map(({ key, color }) => el("i", { style: `width:${((100 * point[key]) / most).toFixed(2)}%;background:${color}` }));
  return [el("span", { class: "bar", role: "img", "aria-label": text }, bar), el("small", {}, text)];
}
