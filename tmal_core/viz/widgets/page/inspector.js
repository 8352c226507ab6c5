// The inspector's page: drawn from a view, again at each change. A host gives views and clips, and takes what is asked.

function inspector(host, element) {
  const page = {
    host, clock: new Clock(), sheets: new Sheets((row) => host.clip(row)), view: host.view(), table: null, sorted: { by: "episode", down: false },
    open: { whatIf: true, table: false, hand: false }, picked: null, searching: false, error: "", keysOf: null,
    hand: { search: "", found: [], support: new Map(), query: new Map(), waiting: 0 }, playShows: () => {}, handFound: () => {},
  };
  page.send = (message) => host.send(message);
  page.choose = (changes) => { if (host.live) page.send({ do: "choose", changes }); };
  page.search = (kind) => { page.searching = true; page.draw(); page.send({ do: "search", kind }); };
  page.play = () => { page.clock.play(); page.playShows(); };
  page.step = (by) => {
    page.clock.play(false);
    page.playShows();
    page.sheets.get(page.view.queries[page.view.choice.query].row).then(({ facts }) => {
      const number = nativeFrame(facts, page.clock.time) + by;
      page.clock.go(((number % facts.num_frames) + facts.num_frames) % facts.num_frames / facts.fps + 1e-4);
    }, () => {});
  };
  const root = node("div", { class: "tmal-inspector", tabIndex: -1 });
  root.addEventListener("keydown", (event) => onKey(page, event));
  quiet(root);
  element.replaceChildren(root);
  page.draw = () => drawn(page, root);
  host.changed((view) => {
    const of = (one) => `${one.run} ${one.split}`;
    if (of(view) !== of(page.view)) otherClips(page);
    page.view = view;
    page.table = null;
    page.picked = page.picked && view.before.parts ? page.picked : null;
    page.draw();
    if (page.open.table) page.send({ do: "table" });
  });
  host.told((news) => told(page, news));
  page.draw();
  if (!window.matchMedia("(prefers-reduced-motion: reduce)").matches) page.play();
  return () => { page.clock.play(false); host.closed(); };
}

// Of another run or split: rows mean other clips now, those that were put together by hand too.
function otherClips(page) {
  const { hand, host, open } = page;
  page.sheets = new Sheets((row) => host.clip(row));
  hand.support.clear();
  hand.query.clear();
  hand.found = [];
  if (open.hand) page.send({ do: "find", text: hand.search });
}

// What comes beside a new view: an error, the end of a search, a table, clips that were found.
function told(page, news) {
  const settled = !news.error && news.searching === false && Object.keys(news).length === 2;
  if (settled && !page.error && !page.searching) return; // nothing to be seen has changed; a view follows
  if ("error" in news) page.error = news.error;
  if ("searching" in news) page.searching = news.searching;
  if ("table" in news) page.table = news.table;
  if ("code" in news) page.code = news.code;
  if ("saved" in news) page.saved = news.saved;
  if (news.file) { page.hand.query.set(news.file.row, news.file); page.handFound(); return; }
  if ("found" in news) { page.hand.found = news.found; page.handFound(); return; }
  page.draw();
}

function drawn(page, root) {
  const { view } = page;
  const focus = focused(root);
  const height = root.offsetHeight;
  root.style.minHeight = page.error ? `${height}px` : "";
  const said = page.error || (page.searching ? "searching ..." : view.message);
  const status = node("p", { class: `status ${page.error ? "error" : page.searching ? "busy" : ""}`, role: "status", "aria-live": "polite" }, said);
  const asked = view.choice.by_hand ? "clips of your choice" : `${view.choice.episode_type}, episode ${view.choice.number}`;
  const title = node("h3", {}, `${asked} of ${view.split}`);
  const seen = node("div", { class: "answer" }, title, status, bars(view));
  const rest = node("div", { class: `body ${page.error ? "stale" : ""}` }, episodeTable(page), playing(page), closely(page));
  const extra = page.host.live ? [episodesTable(page), byHand(page)] : [];
  root.replaceChildren(controls(page), seen, rest, whatIf(page), ...extra, exports(page), keysHelp());
  refocus(root, focus);
}

// A new picture leaves the keyboard where it was: the same control again, by its place among its like, with what was
// being typed there.
function focused(root) {
  const active = root.ownerDocument.activeElement;
  if (!root.contains(active)) return null;
  if (active === root) return { root: true };
  const typed = active.pending && { value: active.pending() ? active.value : null, from: active.selectionStart, to: active.selectionEnd };
  return { tag: active.tagName, at: [...root.querySelectorAll(active.tagName)].indexOf(active), typed };
}

function refocus(root, focus) {
  if (!focus) return;
  if (focus.root) { root.focus({ preventScroll: true }); return; }
  const again = root.querySelectorAll(focus.tag)[focus.at] || root;
  again.focus({ preventScroll: true });
  if (!focus.typed || !again.pending) return;
  if (focus.typed.value !== null) again.value = focus.typed.value;
  again.setSelectionRange(focus.typed.from, focus.typed.to);
}

function exports(page) {
  const { host } = page;
  if (!host.live) return node("span", {});
  const save = (kind, title) => button(title, { onclick: () => page.send({ do: "export", kind }) });
  return node("div", { class: "controls", role: "group", "aria-label": "take it with you" },
    save("png", "save as picture"), save("html", "save as page"), save("code", "show as Python"), 
    page.saved ? node("span", { role: "status" }, `saved: ${page.saved}`) : null, page.code ? node("pre", { class: "code" }, page.code) : null);
}
