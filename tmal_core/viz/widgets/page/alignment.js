// Which frames were matched, and what each pair adds to the distance: a table of T x U cells, each a button.

function alignment(parts, chosen, pick) {
  const largest = Math.max(1e-9, ...parts.matched.flat());
  const on = new Map();
  parts.paths.forEach((path, way) => path.forEach(([t, u]) => on.set(`${t},${u}`, (on.get(`${t},${u}`) || 0) | (1 << way))));
  const head = parts.between[0].map((_, u) => node("th", { scope: "col" }, String(u + 1)));
  const table = node("table", { class: "alignment" }, node("tr", {}, node("th", {}, "↓ q  s →"), ...head));
  parts.between.forEach((line, t) => {
    const row = node("tr", {}, node("th", { scope: "row" }, String(t + 1)));
    line.forEach((between, u) => {
      const share = parts.matched[t][u] / largest;
      const way = on.get(`${t},${u}`) || 0;
      const path = ["", "query's path", "support's path", "on both paths"][way];
      const name =
        `query frame ${t + 1}, support frame ${u + 1}: distance ${between.toFixed(3)}, ` +
        `matched ${parts.matched[t][u].toFixed(2)} times, adds ${parts.added[t][u].toFixed(3)}${path ? `, ${path}` : ""}`;
      const cell = button(["", "●", "○", "◉"][way] || "·", {
        class: "pair" + (chosen && chosen[0] === t && chosen[1] === u ? " chosen" : ""),
        "aria-label": name,
        onclick: () => pick(t, u),
      }, name);
      cell.style.setProperty("--share", share.toFixed(3));
      row.append(node("td", {}, cell));
    });
    table.append(row);
  });
  return table;
}

function breakdownLine(parts, matcher) {
  const added = parts.added.flat().reduce((sum, value) => sum + value, 0);
  const rest = Math.abs(parts.rest) < 5e-4 ? "" : ` and ${parts.rest.toFixed(3)} of the softmin, which no pair adds`;
  return `${matcher}: distance ${parts.distance.toFixed(3)} = ${added.toFixed(3)} of the pairs${rest}.`;
}
