// The legend of all figures: a button for each codec shows and hides it; pointing at one brings it out.

function drawLegend() {
  const shown = [...new Set(codecsShown().map((codec) => codec.family))];
  const all = study.families.map((family) => family.spelling);
  const items = shown.map((family) => {
    const { spelling, label } = study.families[family];
    return el(
      "button",
      {
        class: "key",
        "aria-pressed": String(!hidden(family)),
        title: spelling === label ? null : spelling,
        onclick: () => toggle(spelling),
        ondblclick: () => setState({ hide: all.filter((other) => other !== spelling) }),
        onpointerenter: () => bringOut(family),
        onpointerleave: () => bringOut(null),
        onfocus: (event) => event.target.matches(":focus-visible") && bringOut(family),
        onblur: () => bringOut(null),
      },
      mark(family),
      el("span", {}, label),
    );
  });
  const both = el(
    "div",
    { class: "legend-all" },
    el("button", { class: "quiet", onclick: () => setState({ hide: [] }) }, "all"),
    el("button", { class: "quiet", onclick: () => setState({ hide: all }) }, "none"),
  );
  const focused = [...at("legend").querySelectorAll("button")].indexOf(document.activeElement);
  at("legend").replaceChildren(el("div", { class: "keys" }, items), shown.length > 2 ? both : "");
  if (focused >= 0) at("legend").querySelectorAll("button")[focused]?.focus();
}

function toggle(spelling) {
  setState({ hide: state.hide.includes(spelling) ? state.hide.filter((name) => name !== spelling) : [...state.hide, spelling] });
}

// Dims all codecs but one in every figure; null shows all alike.
function bringOut(family) {
  for (const figure of document.querySelectorAll(".chart")) {
    figure.classList.toggle("one", family !== null);
    for (const group of figure.querySelectorAll("[data-family]")) group.classList.toggle("out", Number(group.dataset.family) === family);
  }
}
