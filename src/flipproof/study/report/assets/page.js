// Puts the page together: controls, theme, contents, and every section.

function startControls() {
  const metrics = study.metrics.map((metric) => [metric.name, metric.label]);
  const series = study.series.map((each) => [each.title, each.title]);
  const shownRates = [...rates.map((rate) => [String(rate), `${rate} bpp`]), ["all", "all rates"]];
  at("controls").append(
    ...[
      chooser("Metric", "metric", metrics, state.metric),
      chooser("Mean over", "files", [["all", "all files"], ["decodable", "files that decode"]], state.files),
      chooser("Data set", "data", study.datasets.map((name) => [name, name]), state.data),
      chooser("Channels", "channels", series, state.channels),
      severalRates ? chooser("Rate", "rate", shownRates, state.rate) : null,
    ].filter(Boolean),
  );
}

function startTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (state.theme ? state.theme === "dark" : dark.matches);
  const draw = () => {
    document.documentElement.dataset.theme = state.theme;
    at("theme").setAttribute("aria-pressed", String(isDark()));
    at("theme").title = at("theme").ariaLabel = isDark() ? "Light colours" : "Dark colours";
  };
  at("theme").onclick = () => setState({ theme: isDark() ? "light" : "dark" });
  dark.addEventListener("change", draw);
  onState(["theme"], draw);
}

// Links to sections scroll there and leave the state in the address alone.
function startContents() {
  for (const link of document.querySelectorAll("nav a")) {
    const target = at(link.getAttribute("href").slice(1));
    link.hidden = target.closest("section").hidden;
    link.onclick = (event) => {
      event.preventDefault();
      target.scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
      target.focus({ preventScroll: true });
    };
  }
}

function start() {
  readAddress();
  startControls();
  startTheme();
  onState(["metric", "data", "channels", "rate"], drawSummary);
  startCurves();
  onState(["data", "channels", "steps"], drawSteps);
  startWall();
  startViewer();
  startWorst();
  onState(["metric", "data", "channels", "rate", "anchor"], drawDifferences);
  onState(["metric", "data", "channels", "rate", "anchor"], drawGaps);
  onState(["data", "rate"], drawCost);
  startContents();
  // Figures are drawn when their width is known, before the next frame.
  requestAnimationFrame(() => requestAnimationFrame(() => (document.documentElement.dataset.ready = performance.now().toFixed(0))));
}

start();
