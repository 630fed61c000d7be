// Damage by step of a chain: which share of each step's bits was repaired, suspect and lost, one panel per channel.

const KINDS = [
  { key: "repaired", label: "repaired", color: "var(--repaired)" },
  { key: "suspect", label: "suspect: in blocks beyond repair", color: "var(--suspect)" },
  { key: "lost", label: "lost: did not arrive", color: "var(--gone)" },
];

const stepsAt = d3.group(data.steps, (bin) => bin.dataset, (bin) => bin.codec, (bin) => bin.channel);

function drawSteps() {
  const dataset = shownDataset();
  const chains = measured.filter((codec) => stepsAt.get(dataset)?.has(codec.index));
  at("steps-section").hidden = !data.steps.length;
  if (!chains.length) return at("steps").replaceChildren(el("p", { class: "empty" }, "No codec here reports its steps."));
  const codec = chains.find((each) => each.spelling === state.steps) ?? mostDamaged(chains, dataset);
  const select = chooser("Codec", "steps", chains.map((each) => [each.spelling, nameOf(each)]), codec.spelling);
  at("steps-controls").replaceChildren(select ?? "");
  const channels = shownSeries().channels.filter((channel) => !study.channels[channel].clean);
  const panels = channels.map((channel) => ({ channel, bins: stepsAt.get(dataset).get(codec.index).get(channel) ?? [] }));
  at("steps").replaceChildren(...panels.map((panel) => stepPanel(panel, codec)));
  at("steps-title").textContent = `${nameOf(codec)}, ${study.datasets[dataset]}: damage by step of the chain`;
  at("steps-legend").replaceChildren(...KINDS.map(({ label, color }) => el("span", { class: "kind" }, el("i", { style: `background:${color}` }), label)));
}

function mostDamaged(chains, dataset) {
  const damage = (codec) => d3.sum(stepsAt.get(dataset).get(codec.index).values(), (bins) => d3.sum(bins, (bin) => bin.repaired + bin.suspect + bin.lost));
  return d3.greatest(chains, damage);
}

function stepPanel({ channel, bins }, codec) {
  const caption = study.channels[channel].caption;
  const parts = bins.flatMap((bin) => KINDS.map(({ key, color }) => ({ x1: bin.first - 0.5, x2: bin.last + 0.5, share: bin[key], color, bin })));
  const top = d3.max(bins, (bin) => bin.repaired + bin.suspect + bin.lost) || 0.01;
  const last = d3.max(bins, (bin) => bin.last) ?? 1;
  const chart = Plot.plot({
    width: 300,
    height: 170,
    marginLeft: 50,
    marginRight: 6,
    marginTop: 12,
    marginBottom: 34,
    style: { fontFamily: "inherit", fontSize: "12px", background: "transparent" },
    x: { domain: [0.5, last + 0.5], ticks: stepTicks(last), tickSize: 3, label: "step", labelAnchor: "right", labelArrow: "none", tickFormat: "d" },
    y: { domain: [0, top], nice: true, grid: true, ticks: 3, tickSize: 0, label: null, tickFormat: (share) => exactPercent(share) },
    marks: [
      Plot.rectY(parts, Plot.stackY({ x1: "x1", x2: "x2", y: "share", fill: "color", inset: bins.length > 40 ? 0.2 : 0.6 })),
      Plot.ruleY([0], { stroke: "var(--soft)", strokeWidth: 0.8 }),
    ],
  });
  asPicture(chart, `${nameOf(codec)}, ${caption}: damage by step`);
  const about = el("p", { class: "about", "aria-live": "polite" }, aboutAll(bins));
  const panel = el("figure", { class: "panel", tabindex: 0, "aria-label": `${caption}: arrow keys go from step to step` }, el("figcaption", {}, caption), chart, about);
  let current = -1;
  const show = (index) => {
    current = index;
    about.textContent = index < 0 ? aboutAll(bins) : aboutStep(bins[index]);
  };
  panel.onpointermove = (event) => {
    const step = chart.scale("x").invert(d3.pointer(event, chart)[0]);
    show(bins.findIndex((bin) => step >= bin.first - 0.5 && step < bin.last + 0.5));
  };
  panel.onpointerleave = panel.onblur = () => show(-1);
  panel.onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !bins.length) return;
    event.preventDefault();
    show(Math.max(0, Math.min(bins.length - 1, current + step)));
  };
  return panel;
}

const stepTicks = (last) => (last <= 12 ? d3.range(1, last + 1) : d3.ticks(1, last, 5).filter(Number.isInteger));

function aboutAll(bins) {
  const bits = d3.sum(bins, (bin) => bin.bits);
  const share = (key) => (bits ? d3.sum(bins, (bin) => bin[key] * bin.bits) / bits : 0);
  return `all steps: ${KINDS.map(({ key }) => `${exactPercent(share(key))} ${key}`).join(", ")}`;
}

function aboutStep(bin) {
  const name = bin.first === bin.last ? `step ${bin.first}` : `steps ${bin.first} to ${bin.last}`;
  return `${name}: ${KINDS.map(({ key }) => `${exactPercent(bin[key])} ${key}`).join(", ")}`;
}
