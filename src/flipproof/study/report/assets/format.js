// Numbers as people read them: the same rules as flipproof.study.labels.

const DASH = "–";
const MINUS = "−";

function fixed(value, digits) {
  if (value === null || value === undefined) return DASH;
  return value.toFixed(digits).replace("-", MINUS);
}

function signed(value, digits) {
  if (value === null || value === undefined) return DASH;
  return (value > 0 ? "+" : "") + fixed(value, digits);
}

function percent(share) {
  if (share > 0 && share < 0.01) return "<1 %";
  if (share > 0.99 && share < 1) return ">99 %";
  return `${(100 * share).toFixed(0)} %`;
}

function exactPercent(share) {
  const value = 100 * share;
  return `${value === 0 ? "0" : value < 0.1 ? value.toPrecision(1) : value < 10 ? value.toFixed(1) : value.toFixed(0)} %`;
}

function seconds(value) {
  if (value === null || value === undefined) return DASH;
  if (value >= 10) return `${value.toFixed(0)} s`;
  if (value >= 1) return `${value.toFixed(1)} s`;
  return value >= 0.01 ? `${(1000 * value).toFixed(0)} ms` : `${(1000 * value).toFixed(1)} ms`;
}

function whole(value) {
  return Math.round(value).toLocaleString("en");
}

function count(value, noun) {
  return `${whole(value)} ${noun}${value === 1 ? "" : "s"}`;
}
