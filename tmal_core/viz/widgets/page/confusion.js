// What is taken for what: a cell is a button, and opens the answers that fell into it.

function confusionTable(page) {
  const { view } = page;
  const corner = node("th", { class: "corner" }, "query ↓ answer →");
  const heads = view.classes.map((one) => node("th", { scope: "col", title: one.name }, smallGlyph(one), node("span", {}, one.letter)));
  const body = node("tbody", {});
  view.classes.forEach((asked, a) => {
    const row = node("tr", {}, node("th", { scope: "row" }, smallGlyph(asked), ` ${asked.letter} ${asked.name}`));
    view.classes.forEach((answered, b) => row.append(confusionCell(page, a, b)));
    body.append(row);
  });
  const table = node("table", { class: "confusion" }, node("thead", {}, node("tr", {}, corner, ...heads)), body);
  roving(table, "button", nearestCell);
  return quiet(node("div", { class: "scrolls", role: "region", tabIndex: 0, "aria-label": "what is taken for what" }, table));
}

function confusionCell(page, a, b) {
  const { classes, confusion, cells } = page.view;
  const [share, fell] = [confusion[a][b], cells[`${a},${b}`]];
  const said = share === null ? "" : share.toFixed(0);
  if (!fell) return node("td", { title: share === null ? "never in one episode" : null }, said);
  const name = `${classes[a].letter} ${a === b ? "named right" : `taken for ${classes[b].letter}`}: ${said} %, ${fell.length} answers`;
  const cell = button(said, { class: "cell", "aria-label": name, "aria-pressed": "false", "data-cell": `${a},${b}`, onclick: () => page.openCell(a, b) }, name);
  cell.style.setProperty("--share", (share / 100).toFixed(3));
  return node("td", {}, cell);
}

// The next cell that is a button, in the direction of the arrow.
function nearestCell(here, key) {
  const [down, across] = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[key] || [0, 0];
  if (!down && !across) return null;
  const rows = [...here.closest("tbody").rows];
  let [r, c] = [rows.indexOf(here.closest("tr")) + down, here.closest("td").cellIndex + across];
  for (; rows[r] && c > 0 && rows[r].cells[c]; r += down, c += across) {
    const found = rows[r].cells[c].querySelector("button");
    if (found) return found;
  }
  return null;
}

// The answers of a cell, each a button that shows the clips, and where there is an inspector the whole episode.
function answersOf(page, a, b) {
  const { classes, cells, episodes } = page.view;
  const fell = cells[`${a},${b}`];
  const what = a === b ? `${classes[a].letter} named right` : `${classes[a].letter} taken for ${classes[b].letter}`;
  const about = `${what}: ${fell.length} answers in ${episodes} episodes. ${classes[a].name}${a === b ? "" : ` → ${classes[b].name}`}`;
  const list = node("ul", { class: "cases" }, ...fell.map((one) => {
    const [episode, query, , , , probability] = one;
    const title = `episode ${episode}, query ${query + 1}`;
    const open = button(`${title} (p = ${probability.toFixed(2)})`, { "aria-pressed": "false", "data-case": `${episode},${query}`, onclick: () => page.openCase(one, a, b) }, `show the clips of ${title}`);
    return node("li", {}, open);
  }));
  const region = quiet(node("div", { class: "scrolls short", role: "region", tabIndex: 0, "aria-label": `answers: ${what}` }, list));
  return [node("p", { class: "note" }, about), region];
}
