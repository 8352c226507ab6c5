// The map of features: clips before and after training, the clip of a point, what is taken for what, and the answers
// behind each cell.

function featureMap(host, element) {
  const page = {
    host, view: host.view(), clock: new Clock(), sheets: new Sheets((row) => host.clip(row)), only: new Set(), chosen: null, error: "", playShows: () => {},
  };
  const root = quiet(node("div", { class: "tmal-features", tabIndex: -1 }));
  element.replaceChildren(root);
  page.play = (on) => { page.clock.play(on); page.playShows(); };
  page.step = (by) => {
    page.play(false);
    if (page.chosen === null) return;
    page.sheets.get(page.chosen).then(({ facts }) => {
      const number = nativeFrame(facts, page.clock.time) + by;
      page.clock.go((((number % facts.num_frames) + facts.num_frames) % facts.num_frames) / facts.fps + 1e-4);
    }, () => {});
  };
  page.point = (point) => {
    const one = page.view.classes[point.label];
    page.pointed.textContent = `${one.letter} ${one.name}, ${point.video}`;
  };
  page.pick = (row) => {
    page.chosen = row;
    pressed(root, ".point", (point) => Number(point.dataset.row) === row);
    const clip = page.view.points.find((point) => point.row === row);
    page.clip.replaceChildren(shownClip(page, row, "the chosen clip", page.view.classes[clip.label].name, clip.video, 216));
    page.play(true);
  };
  page.openCell = (a, b) => {
    pressed(root, ".cell", (cell) => cell.dataset.cell === `${a},${b}`);
    const rows = new Set(page.view.cells[`${a},${b}`].map((one) => one[2]));
    root.querySelectorAll(".point").forEach((point) => point.classList.toggle("fell", rows.has(Number(point.dataset.row))));
    page.cases.replaceChildren(...answersOf(page, a, b));
    page.shownCase.replaceChildren();
  };
  page.openCase = (one, a, b) => {
    const [episode, query, row, own, answered] = one;
    pressed(root, "[data-case]", (button) => button.dataset.case === `${episode},${query}`);
    const { classes } = page.view;
    const clips = [shownClip(page, row, `query ${query + 1} of episode ${episode}`, classes[a].name, videoOf(page, row), 144),
      shownClip(page, own, `support clip of ${classes[a].letter}`, classes[a].name, videoOf(page, own), 144)];
    if (a !== b) clips.push(shownClip(page, answered, `support clip of ${classes[b].letter}, the answer`, classes[b].name, videoOf(page, answered), 144));
    page.shownCase.replaceChildren(...clips);
    page.chosen = row;
    page.play(true);
    if (page.view.linked && host.live) host.send({ do: "episode", number: episode, query });
  };
  root.addEventListener("keydown", (event) => onMapKey(page, event));
  page.draw = () => drawnMap(page, root);
  host.changed((view) => { Object.assign(page, { view, chosen: null, only: new Set() }); page.draw(); });
  host.told((news) => {
    if ("error" in news) page.error = news.error;
    page.said.textContent = news.error || news.opened || (news.saved ? `saved: ${news.saved}` : page.view.message);
    page.said.classList.toggle("error", Boolean(news.error));
  });
  page.draw();
  return () => { page.clock.play(false); host.closed(); };
}

function drawnMap(page, root) {
  const { view, host } = page;
  const controls = () => [...root.querySelectorAll("select, button")];
  const at = controls().indexOf(root.ownerDocument.activeElement);
  const off = { disabled: !host.live };
  const ask = (name) => (value) => host.send({ do: "choose", changes: { [name]: value } });
  page.said = node("p", { class: "status", role: "status", "aria-live": "polite" }, view.message);
  page.pointed = node("p", { class: "note pointed", "aria-hidden": "true" }, "Arrows go from point to point; Enter or a click plays the clip.");
  page.clip = node("div", { class: "chosen-clip", role: "group", "aria-label": "the chosen clip" }, node("p", { class: "note" }, "Choose a point: its clip plays here."));
  page.cases = node("div", { class: "answers" }, node("p", { class: "note" }, "Choose a cell: the answers behind it are listed here."));
  page.shownCase = node("div", { class: "thumbs-row", role: "group", "aria-label": "the clips of an answer" });
  root.replaceChildren(
    node("div", { class: "controls", role: "group", "aria-label": "what is shown" },
      choice("episode type", view.options.episode_type, view.choice.episode_type, ask("episode_type"), off),
      choice("after training", view.options.after, view.choice.after, ask("after"), off)),
    page.said,
    node("div", { class: "maps" }, scatter(page, "before"), scatter(page, "after"), node("figure", {}, page.clip, playing(page))),
    page.pointed, classButtons(page, root),
    node("h3", {}, "What is taken for what"),
    node("p", { class: "note" }, "Percent of the queries of a row whose episode offered the column's class, too. Points of a chosen cell's queries are ringed."),
    node("div", { class: "beside" }, confusionTable(page), page.cases), page.shownCase, takeAway(page), mapKeys());
  page.playShows();
  if (at >= 0) controls()[at]?.focus({ preventScroll: true });
}

// Classes as buttons: those pressed stand out, the others fade.
function classButtons(page, root) {
  const faded = () => root.querySelectorAll(".point").forEach((point) =>
    point.classList.toggle("faded", page.only.size > 0 && !page.only.has(Number(point.dataset.label))));
  const buttons = page.view.classes.map((one, label) => {
    const made = button("", { "aria-pressed": "false", class: "class-button", onclick: () => {
      if (page.only.has(label)) page.only.delete(label);
      else page.only.add(label);
      made.setAttribute("aria-pressed", String(page.only.has(label)));
      faded();
    } });
    made.append(smallGlyph(one), ` ${one.letter} ${one.name}`);
    return made;
  });
  return node("div", { class: "controls classes", role: "group", "aria-label": "classes that stand out" }, ...buttons);
}

function shownClip(page, row, title, className, video, width) {
  return node("figure", {}, moving(page.clock, page.sheets, row, "frames", width, `${title}: ${className}, ${video}`), timeLine(page.clock, page.sheets, row, width),
    node("figcaption", {}, node("b", {}, title), ` ${className} `, node("small", {}, video)));
}

function videoOf(page, row) {
  return page.view.points.find((point) => point.row === row)?.video || "";
}

function pressed(root, selector, is) {
  root.querySelectorAll(selector).forEach((one) => one.setAttribute("aria-pressed", String(is(one))));
}

function takeAway(page) {
  const { host } = page;
  if (!host.live) return node("span", {});
  const save = (kind, title) => button(title, { onclick: () => host.send({ do: "export", kind }) });
  return node("div", { class: "controls", role: "group", "aria-label": "take it with you" }, save("png", "save as picture"), save("html", "save as page"));
}

function onMapKey(page, event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select")) return;
  const point = event.target.closest(".point");
  if (point && (event.key === "Enter" || event.key === " ")) page.pick(Number(point.dataset.row));
  else if (event.key === ",") page.step(-1);
  else if (event.key === ".") page.step(1);
  else if (event.key === " " && !event.target.matches("button, summary")) page.play();
  else return;
  event.preventDefault();
}

function mapKeys() {
  const keys = [["arrows, Home, End", "from point to point, from cell to cell"], ["Enter", "play a point's clip, open a cell or an answer"], ["space", "play or pause"], [", .", "one frame back, on"]];
  const rows = keys.map(([key, what]) => node("li", {}, node("kbd", {}, key), ` ${what}`));
  return node("details", {}, quiet(node("summary", {}, "keys")), node("ul", { class: "keys" }, ...rows));
}
