// Clips as points, a colour and a shape for each class. A point is a button: it plays its clip.

const SVG = "http://www.w3.org/2000/svg";
const [ACROSS, DOWN, EDGE] = [440, 340, 16];
const PLUS = "M-1.9-5H1.9V-1.9H5V1.9H1.9V5H-1.9V1.9H-5V-1.9H-1.9Z";
const STAR = [...Array(10)].map((_, n) => {
  const [r, angle] = [n % 2 ? 2.5 : 6, (n * Math.PI) / 5];
  return `${n ? "L" : "M"}${(r * Math.sin(angle)).toFixed(2)} ${(-r * Math.cos(angle)).toFixed(2)}`;
}).join("") + "Z";
const SHAPES = {
  s: "M-4.2-4.2H4.2V4.2H-4.2Z", o: "M-4.7 0a4.7 4.7 0 1 0 9.4 0a4.7 4.7 0 1 0-9.4 0Z", D: "M0-5.7L5.7 0L0 5.7L-5.7 0Z",
  "^": "M0-5.4L5 3.8H-5Z", v: "M0 5.4L5-3.8H-5Z", "<": "M-5.4 0L3.8-5V5Z", P: PLUS, X: PLUS, "*": STAR,
};

function drawing(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// The mark of a class.
function glyph(one) {
  const path = drawing("path", { d: SHAPES[one.shape], class: "mark", transform: one.shape === "X" ? "rotate(45)" : "rotate(0)" });
  path.style.setProperty("--light", one.light);
  path.style.setProperty("--dark", one.dark);
  return path;
}

function smallGlyph(one) {
  return drawing("svg", { viewBox: "-7 -7 14 14", width: "14", height: "14", "aria-hidden": "true" }, glyph(one));
}

// How places become pixels: one scale for both axes, so that distances are those of the projection.
function scaled(places) {
  const [xs, ys] = [0, 1].map((axis) => places.map((place) => place[axis]));
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const scale = Math.min((ACROSS - 2 * EDGE) / Math.max(right - left, 1e-9), (DOWN - 2 * EDGE) / Math.max(high - low, 1e-9));
  return ([x, y]) => [ACROSS / 2 + (x - (left + right) / 2) * scale, DOWN / 2 - (y - (low + high) / 2) * scale];
}

function scatter(page, side) {
  const { view } = page;
  const { title, shares, fitted, apart } = view.maps[side];
  const place = scaled(view.points.map((point) => point[side]));
  const svg = drawing("svg", { viewBox: `0 0 ${ACROSS} ${DOWN}`, role: "group", "aria-label": `${title}: ${view.points.length} clips as points`, class: "map" });
  for (const point of view.points) {
    const one = view.classes[point.label];
    const [x, y] = place(point[side]);
    const name = `${one.letter} ${one.name}, ${point.video}`;
    const made = drawing("g", { class: "point", role: "button", transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`, "aria-label": name,
      "aria-pressed": "false", "data-row": point.row, "data-label": point.label, "data-x": x, "data-y": y },
      drawing("title", {}, name), drawing("circle", { r: "9", class: "ring" }), glyph(one));
    made.addEventListener("click", () => page.pick(point.row));
    made.addEventListener("focus", () => page.point(point));
    made.addEventListener("pointerenter", () => page.point(point));
    svg.append(quiet(made));
  }
  roving(svg, ".point", nearestPoint);
  const percents = `first axis ${percent(shares[0])} of the variance, second ${percent(shares[1])}`;
  return node("figure", {}, node("figcaption", {}, node("b", {}, title), node("small", {}, apart), node("small", {}, `${percents}; ${fitted}`)), svg);
}

// Left and right go through all points by their place across, up and down by their height.
function nearestPoint(here, key, points) {
  const axis = { ArrowLeft: "x", ArrowRight: "x", ArrowUp: "y", ArrowDown: "y" }[key];
  if (!axis) return null;
  const ordered = points.map((point, n) => [Number(point.dataset[axis]), n]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const at = ordered.findIndex(([, n]) => points[n] === here);
  const step = key === "ArrowRight" || key === "ArrowDown" ? 1 : -1;
  return points[ordered[(at + step + ordered.length) % ordered.length][1]];
}
