// The worst files: of every codec on every channel the one with the lowest PSNR, and the one that fell the most.

function drawWorst() {
  const [dataset, series] = [shownDataset(), shownSeries()];
  const shown = new Set(codecsShown().map((codec) => codec.index));
  const rows = data.worst.filter((file) => file.dataset === dataset && shown.has(file.codec) && series.channels.includes(file.channel));
  at("worst-section").hidden = !data.worst.length;
  const columns = [
    { label: "Picture", cell: (file) => worstPicture(file), class: "shot" },
    { label: "Codec", class: "words", cell: (file) => codecCell(study.codecs[file.codec]), value: (file) => nameOf(study.codecs[file.codec]) },
    { label: "Channel", class: "words", cell: (file) => study.channels[file.channel].caption, value: (file) => series.channels.indexOf(file.channel) },
    { label: "PSNR", sub: "dB", cell: (file) => fixed(file.psnr, 2), value: (file) => file.psnr },
    { label: "Fall", sub: "dB below clean", down: true, cell: (file) => fixed(file.fall, 2), value: (file) => file.fall },
    { label: "Flips", down: true, cell: (file) => whole(file.flips), value: (file) => file.flips },
    { label: "Trial", cell: (file) => String(file.trial), value: (file) => file.trial },
    { label: "Seed of the channel", class: "words", cell: (file) => el("code", {}, file.channel_seed) },
    { label: "Key of the row", class: "words", cell: (file) => el("code", {}, file.key) },
  ];
  const sort = state.worst === "fall" ? { index: 4, down: true } : { index: 3, down: false };
  delete at("worst").dataset.sort;
  sortable(at("worst"), columns, rows, { caption: `Worst files, ${study.datasets[dataset]}`, sort, limit: 10, className: "worst" });
  for (const button of at("worst-controls").querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.value === state.worst));
}

function worstPicture(file) {
  const name = el("small", {}, file.picture);
  if (file.image === null) return name;
  const about = `${file.picture}, ${nameOf(study.codecs[file.codec])}, ${study.channels[file.channel].caption}, trial ${file.trial}: ${fixed(file.psnr, 2)} dB`;
  const open = el("button", { class: "tile", title: "Enlarge", onclick: () => openLone(file, about) }, lazyImage(file.image, about));
  return [open, name];
}

function startWorst() {
  for (const [value, label] of [["psnr", "lowest PSNR"], ["fall", "largest fall"]]) {
    at("worst-controls").append(el("button", { class: "choice", value, onclick: () => setState({ worst: value }) }, label));
  }
  onState(["data", "channels", "rate", "worst"], drawWorst);
}
