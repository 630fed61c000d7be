// The image wall: one picture through every codec and channel.

const album = data.gallery;
const uri = (place) => `data:image/webp;base64,${data.images[place]}`;
const tileAt = d3.rollup(album.tiles, ([tile]) => tile[3], ([picture]) => picture, ([, codec]) => codec, ([, , channel]) => channel);
const firstAt = d3.rollup(data.first, ([row]) => row, (row) => row[0], (row) => row[1], (row) => row[2]);

// Images get their data when they come near the screen, or when the page is printed.
const seen = new IntersectionObserver(
  (entries) => entries.forEach((entry) => entry.isIntersecting && reveal(entry.target)),
  { rootMargin: "600px" },
);

function reveal(image) {
  if (!image.dataset.place) return;
  image.src = uri(image.dataset.place);
  delete image.dataset.place;
  seen.unobserve(image);
}

function lazyImage(place, alt) {
  const image = el("img", { alt, "data-place": place, decoding: "async", width: 256, height: 256 });
  seen.observe(image);
  return image;
}

const revealAll = () => document.querySelectorAll("img[data-place]").forEach(reveal);

// What is known of a first trial: its picture, and how it went.
function tileOf(picture, codec, channel) {
  const [, , , status, psnr, flips, error] = firstAt.get(picture)?.get(codec)?.get(channel) ?? [];
  const place = tileAt.get(picture)?.get(codec)?.get(channel) ?? null;
  const flipped = flips ? count(flips, "flip") : "no flips";
  const note = { error: "not encoded", failed: "no picture" }[status] ?? (status ? `${psnr === null ? "∞" : fixed(psnr, 2)} dB` : "not measured");
  const name = `${album.pictures[picture].name}, ${nameOf(study.codecs[codec])}, ${study.channels[channel].caption}`;
  const missing = { error: "could not be encoded", failed: "does not decode" }[status] ?? (status ? "not in this page" : "not measured");
  return { place, status, note, flips: status === "error" ? "" : flipped, name, alt: `${name}: ${note}`, missing, error };
}

function drawWall() {
  at("wall-section").hidden = !album.pictures.length;
  if (!album.pictures.length) return;
  const picture = shownPicture();
  const entry = album.pictures[picture];
  const series = shownSeries();
  const head = el("tr", {}, el("th", { scope: "col" }, originalTile(picture)), series.headings.map((heading) => el("th", { scope: "col" }, heading)));
  const body = codecsShown().map((codec) =>
    el("tr", {}, el("th", { scope: "row" }, codecCell(codec)), series.channels.map((channel) => el("td", {}, wallTile(picture, codec.index, channel)))),
  );
  const caption = el("caption", { class: "hush" }, `${entry.name} through every codec and channel`);
  at("wall").replaceChildren(el("table", { class: "wall" }, caption, el("thead", {}, head), el("tbody", {}, body)));
  at("wall-title").textContent = `${entry.name}, ${entry.width}×${entry.height} pixels`;
  for (const button of at("pictures").children) button.setAttribute("aria-pressed", String(Number(button.value) === picture));
}

const shownPicture = () => (album.pictures[Number(state.picture)] ? Number(state.picture) : 0);

function originalTile(picture) {
  const alt = `${album.pictures[picture].name}, original`;
  const codec = codecsShown()[0].index;
  const open = () => openViewer({ picture, codec, channel: shownSeries().channels[0], show: "original" });
  return el("button", { class: "tile", title: "Enlarge", onclick: open }, lazyImage(album.pictures[picture].image, alt), el("small", {}, "original"));
}

function wallTile(picture, codec, channel) {
  const tile = tileOf(picture, codec, channel);
  const hush = el("span", { class: "hush" }, `${tile.name}: `);
  const inner = tile.place === null ? el("span", { class: "gap" }, el("span", {}, hush, tile.missing)) : lazyImage(tile.place, tile.name);
  const note = el("small", { title: tile.error || null }, [tile.note, tile.flips].filter(Boolean).join(" · "));
  const open = () => openViewer({ picture, codec, channel, show: "decoded" });
  return el("button", { class: "tile", title: "Enlarge", onclick: open }, inner, note);
}

function startWall() {
  album.pictures.forEach((picture, index) =>
    at("pictures").append(el("button", { class: "choice", value: String(index), onclick: () => setState({ picture: String(index) }) }, picture.name)),
  );
  onState(["picture", "channels", "rate"], drawWall);
  window.addEventListener("beforeprint", revealAll);
}
