// The episode: support clips as columns, queries as rows, distances where they cross, probabilities as bars.

function episodeTable(page) {
  const { view, clock, sheets } = page;
  const { classes, shot, support, queries, labels } = view;
  const answer = view.before;
  const heads = classes.map((one) => node("th", { colspan: String(shot), scope: "colgroup" }, node("b", {}, one.letter), ` ${one.name}`));
  const clips = support.map((clip) => node("td", {}, moving(clock, sheets, clip.row, "frames", 96, `support clip ${clip.video}: ${clip.class_name}`)));
  const table = node("table", { class: "episode" });
  const about = "distances: the smaller the nearer; dark is the nearest of its row";
  table.append(node("thead", {}, node("tr", {}, node("th", { class: "corner" }, "query ↓ support →"), ...heads, node("th", { scope: "col" }, "answer"))));
  const body = node("tbody", {}, node("tr", {}, node("td", { class: "note" }, about), ...clips, node("td", {})));
  queries.forEach((query, i) => {
    const own = labels[i] >= 0 ? `${classes[labels[i]].letter} ${classes[labels[i]].name}` : query.class_name;
    const head = node("th", { scope: "row" }, moving(clock, sheets, query.row, "frames", 96, `query ${query.video}: ${own}`), own);
    const row = node("tr", { class: i === view.choice.query ? "chosen" : "" }, head);
    answer.distances[i].forEach((distance, j) => row.append(distanceCell(page, i, j, distance)));
    row.append(verdict(view, i));
    body.append(row);
  });
  table.append(body);
  const region = node("div", { class: "scrolls", role: "region", "aria-label": "the episode: distances and answers", tabIndex: 0 }, table);
  return quiet(region);
}

function distanceCell(page, i, j, distance) {
  const { view } = page;
  const near = view.before.nearness[i][j];
  const label = Math.floor(j / view.shot);
  const chosen = i === view.choice.query && j === view.choice.support;
  const name = `distance of query ${i + 1} to ${view.classes[label].letter}: ${distance.toFixed(3)}`;
  const cell = button(distance.toFixed(3), {
    class: "distance" + (chosen ? " chosen" : "") + (label === view.before.predicted[i] ? " answer" : ""),
    "aria-label": name,
    "aria-pressed": String(chosen),
    disabled: !page.host.live && !chosen,
    onclick: () => page.choose({ query: i, support: j }),
  }, `${name}; click to see what was matched`);
  cell.style.setProperty("--share", near.toFixed(3));
  const after = view.after && node("small", {}, view.after.distances[i][j].toFixed(3));
  return node("td", {}, cell, after);
}

function verdict(view, i) {
  const cell = node("td", { class: "verdict" }, said(view, view.before, i, ""));
  if (view.after) cell.append(said(view, view.after, i, "changed: "));
  return cell;
}

function said(view, answer, i, before) {
  const guess = answer.predicted[i];
  const known = view.labels[i] >= 0;
  const right = guess === view.labels[i];
  const mark = !known ? "?" : right ? "✓" : "✗";
  const words = !known ? "unknown" : right ? "right" : "wrong";
  const text = `${before}${mark} ${view.classes[guess].letter} ${view.classes[guess].name}`;
  return node("div", { class: words }, node("span", { "aria-label": words }, text), ` p = ${answer.probabilities[i][guess].toFixed(2)}`);
}

// Probabilities of the chosen query, before and after what is changed.
function bars(view) {
  const i = view.choice.query;
  const list = node("ul", { class: "bars", "aria-label": `probabilities of query ${i + 1}` });
  view.classes.forEach((one, label) => {
    const line = node("li", { class: label === view.labels[i] ? "own" : "" }, node("span", { class: "name" }, node("b", {}, one.letter), ` ${one.name}`));
    for (const [kind, answer] of [["before", view.before], ["after", view.after]]) {
      if (!answer) continue;
      const value = answer.probabilities[i][label];
      const bar = node("span", { class: `bar ${kind}` }, node("i", {}), node("em", {}, `${kind === "after" ? "changed: " : ""}${percent(value)}`));
      bar.firstChild.style.width = percent(value).replace(" ", "");
      line.append(bar);
    }
    list.append(line);
  });
  return list;
}
