// The viewer: one picture large, flipped in place between codecs, channels and the original, or as a difference map.

const shown = { picture: 0, codec: 0, channel: 0, show: "decoded", lone: null };
let stage = null;

function openViewer(what) {
  Object.assign(shown, { lone: null }, what);
  openDialog();
}

// A picture that is not on the wall: there is nothing to flip it with.
function openLone(file, about) {
  const picture = album.pictures.findIndex((each) => each.name === file.picture);
  Object.assign(shown, { picture, codec: file.codec, channel: file.channel, show: "decoded", lone: { image: file.image, about } });
  openDialog();
}

function openDialog() {
  const dialog = at("viewer");
  if (!dialog.open) dialog.showModal();
  drawViewer();
  stage.fit();
}

const viewerCodecs = () => codecsShown().map((codec) => codec.index);
const viewerChannels = () => shownSeries().channels;

function drawViewer() {
  const flips = !shown.lone && shown.picture >= 0;
  const entry = album.pictures[shown.picture];
  const tile = flips ? tileOf(shown.picture, shown.codec, shown.channel) : null;
  const place = shown.lone ? shown.lone.image : shown.show === "original" ? entry.image : tile.place;
  const differs = flips && shown.show === "difference" && tile.place !== null;
  at("viewer").dataset.show = shown.show;
  for (const part of at("viewer").querySelectorAll("[data-flips]")) part.hidden = !flips;
  at("viewer-gain").hidden = !flips || shown.show !== "difference";
  at("viewer-image").hidden = place === null || differs;
  at("viewer-canvas").hidden = !differs;
  at("viewer-none").hidden = place !== null || shown.show === "original";
  at("viewer-none").textContent = tile?.error ? `${tile.missing}: ${tile.error}` : (tile?.missing ?? "");
  if (place !== null) at("viewer-image").src = uri(place);
  if (differs) drawDifference(uri(entry.image), uri(tile.place));
  const about = shown.lone ? shown.lone.about : shown.show === "original" ? `${entry.name}, original` : tile.alt;
  at("viewer-image").alt = about;
  at("viewer-canvas").setAttribute("aria-label", `Difference to the original: ${about}`);
  at("viewer-about").textContent = [about, flips && shown.show !== "original" && tile.flips].filter(Boolean).join(" · ");
  for (const button of document.querySelectorAll("#viewer [data-show]")) button.setAttribute("aria-pressed", String(button.dataset.show === shown.show));
  if (flips) fillChoosers();
  setState({ view: flips ? [shown.picture, shown.codec, shown.channel, shown.show].join(".") : "" });
  resize(entry);
}

// Opens the viewer as an address has it: picture, codec, channel, and what of them.
function openAddressed() {
  const [picture, codec, channel, what] = state.view.split(".");
  const known = album.pictures[picture] && (study.codecs[codec]?.family ?? null) !== null && study.channels[channel];
  if (!known || !["decoded", "original", "difference"].includes(what)) return setState({ view: "" });
  openViewer({ picture: Number(picture), codec: Number(codec), channel: Number(channel), show: what });
}

function fillChoosers() {
  const options = (indices, label, current) => indices.map((index) => el("option", { value: String(index), selected: index === current }, label(index)));
  at("viewer-codec").replaceChildren(...options(viewerCodecs(), (index) => nameOf(study.codecs[index]), shown.codec));
  at("viewer-channel").replaceChildren(...options(viewerChannels(), (index) => study.channels[index].caption, shown.channel));
}

// Pictures keep the size they were coded at, whatever size they have in this page.
function resize(entry) {
  const image = at("viewer-image");
  if (entry) return stage.size(entry.width, entry.height);
  const natural = () => stage.size(image.naturalWidth, image.naturalHeight);
  return image.complete && image.naturalWidth ? natural() : image.addEventListener("load", natural, { once: true });
}

// Draws |decoded - original| of every colour, times the gain.
async function drawDifference(original, decoded) {
  const asked = `${original.length}:${decoded.length}:${shown.codec}:${shown.channel}:${shown.picture}`;
  const canvas = at("viewer-canvas");
  canvas.dataset.asked = asked;
  const [before, after] = await Promise.all([pixels(original), pixels(decoded)]);
  if (canvas.dataset.asked !== asked) return;
  const gain = Number(at("viewer-slider").value);
  const made = new ImageData(after.width, after.height);
  for (let i = 0; i < made.data.length; i++) {
    made.data[i] = i % 4 === 3 ? 255 : gain * Math.abs(after.data[i] - before.data[i]);
  }
  Object.assign(canvas, { width: made.width, height: made.height });
  canvas.getContext("2d", { willReadFrequently: true }).putImageData(made, 0, 0);
  at("viewer-factor").textContent = `${gain}×`;
}

async function pixels(source) {
  const image = new Image();
  image.src = source;
  await image.decode();
  const canvas = el("canvas", { width: image.naturalWidth, height: image.naturalHeight });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

function flip(key, list, step) {
  const index = list.indexOf(shown[key]);
  shown[key] = list[(index + step + list.length) % list.length];
  if (shown.show === "original") shown.show = "decoded";
  drawViewer();
}

function show(what) {
  shown.show = shown.show === what ? "decoded" : what;
  drawViewer();
}

const KEYS = {
  ArrowLeft: () => flip("channel", viewerChannels(), -1),
  ArrowRight: () => flip("channel", viewerChannels(), 1),
  ArrowUp: () => flip("codec", viewerCodecs(), -1),
  ArrowDown: () => flip("codec", viewerCodecs(), 1),
  o: () => show("original"),
  d: () => show("difference"),
};

const VIEW_KEYS = { "+": () => stage.zoom(1.5), "=": () => stage.zoom(1.5), "-": () => stage.zoom(1 / 1.5), 0: () => stage.fit() };

function startViewer() {
  const dialog = at("viewer");
  stage = zoomable(at("viewer-stage"), at("viewer-layer"));
  dialog.addEventListener("keydown", (event) => {
    if (event.target.matches("select, input") || event.ctrlKey || event.metaKey || event.altKey) return;
    const flips = !shown.lone && shown.picture >= 0;
    const act = VIEW_KEYS[event.key] ?? (flips ? KEYS[event.key] : undefined);
    if (!act) return;
    event.preventDefault();
    act();
  });
  for (const button of dialog.querySelectorAll("[data-show]")) button.onclick = () => show(button.dataset.show);
  at("viewer-in").onclick = VIEW_KEYS["+"];
  at("viewer-out").onclick = VIEW_KEYS["-"];
  at("viewer-fit").onclick = VIEW_KEYS[0];
  at("viewer-close").onclick = () => dialog.close();
  at("viewer-slider").oninput = drawViewer;
  at("viewer-codec").onchange = (event) => ((shown.codec = Number(event.target.value)), drawViewer());
  at("viewer-channel").onchange = (event) => ((shown.channel = Number(event.target.value)), drawViewer());
  dialog.addEventListener("close", () => {
    at("viewer-image").src = BLANK;
    setState({ view: "" });
  });
  if (state.view) openAddressed();
}

const BLANK = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==";
