// What the reader chose, kept in the address after #, so that a link shows the same.

const state = {};
const listeners = [];

const LISTS = new Set(["hide"]);

function defaults() {
  const noisy = study.series[0].channels.filter((channel) => !study.channels[channel].clean);
  const target = (channel) => Math.abs(Math.log10((study.channels[channel].ber ?? 1) / 1e-3));
  const middle = d3.least(noisy, target) ?? study.series[0].channels[0];
  return {
    metric: study.metrics[0].name,
    files: "all",
    data: study.datasets[0],
    channels: study.series[0].title,
    rate: severalRates ? String(d3.mode(measured.map((codec) => codec.asked).filter((rate) => rate !== null))) : "all",
    at: study.channels[middle].spelling,
    hide: [],
    steps: "",
    picture: "0",
    worst: "psnr",
    anchor: "",
    view: "",
    theme: "",
  };
}

// Replaces the state by the defaults and what the address says; unknown keys and values that are no choice fall away.
function readAddress() {
  const asked = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  const allowed = choices();
  Object.assign(state, defaults());
  for (const key of Object.keys(state)) {
    if (!asked.has(key)) continue;
    if (LISTS.has(key)) state[key] = asked.getAll(key);
    else if (!allowed[key] || allowed[key].includes(asked.get(key))) state[key] = asked.get(key);
  }
}

// What keys can be, where another value would leave nothing to show; the other keys are looked up where they are used.
function choices() {
  return {
    metric: study.metrics.map((metric) => metric.name),
    files: ["all", "decodable"],
    data: study.datasets,
    channels: study.series.map((series) => series.title),
    rate: [...rates.map(String), "all"],
    at: study.channels.map((channel) => channel.spelling),
    worst: ["psnr", "fall"],
    theme: ["", "light", "dark"],
  };
}

function writeAddress() {
  const usual = defaults();
  const asked = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    if (LISTS.has(key)) value.forEach((item) => asked.append(key, item));
    else if (value !== usual[key]) asked.set(key, value);
  }
  const text = asked.toString();
  history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

function setState(changes) {
  const changed = Object.keys(changes).filter((key) => String(state[key]) !== String(changes[key]));
  Object.assign(state, changes);
  writeAddress();
  announce(changed);
}

// Calls a function now and whenever one of these keys changes.
function onState(keys, draw) {
  listeners.push([keys, draw]);
  draw();
}

function announce(changed) {
  for (const [keys, draw] of listeners) if (keys.some((key) => changed.includes(key))) draw();
  for (const select of document.querySelectorAll("select[data-key]")) select.value = state[select.dataset.key];
}

window.addEventListener("hashchange", () => {
  if (location.hash && !location.hash.includes("=")) return;
  const before = { ...state };
  readAddress();
  announce(Object.keys(state).filter((key) => String(state[key]) !== String(before[key])));
});
