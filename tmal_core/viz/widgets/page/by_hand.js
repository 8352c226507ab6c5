// A question of one's own: clips of the split as support and queries, found by class or file.

function byHand(page) {
  const { host, hand } = page;
  const found = node("div", { class: "thumbs" });
  const search = quiet(node("input", { type: "search", value: hand.search, disabled: !host.live }));
  search.pending = () => false; // `hand.search` carries it on
  search.addEventListener("input", () => {
    hand.search = search.value;
    clearTimeout(hand.waiting);
    hand.waiting = setTimeout(() => page.send({ do: "find", text: search.value }), 150);
  });
  const fill = () => found.replaceChildren(...hand.found.map((clip) => thumb(page, clip, refill)));
  const chosen = node("div", { class: "thumbs" });
  const refill = () => {
    const held = found.getRootNode().activeElement; // made anew, it would lose the focus
    const holder = [found, chosen].find((one) => one.contains(held));
    fill();
    chosen.replaceChildren(...[...hand.support.values(), ...hand.query.values()].map((clip) => thumb(page, clip, refill)));
    ask.disabled = !host.live || !hand.query.size || hand.support.size < 2;
    clear.disabled = !hand.query.size && !hand.support.size;
    const again = holder && [...holder.querySelectorAll("button")].find((one) => one.title === held.title);
    if (holder) (again || search).focus({ preventScroll: true });
  };
  const clear = button("take all out", { onclick: () => { hand.support.clear(); hand.query.clear(); refill(); search.focus(); } }, "take all chosen clips out");
  const ask = button("ask", {
    class: "ask",
    onclick: () => {
      const support = {};
      for (const clip of hand.support.values()) (support[clip.class_name] ||= []).push(clip.row);
      page.send({ do: "ask", support, query: [...hand.query.keys()] });
    },
  }, "ask with these clips");
  const file = quiet(node("input", { type: "text", disabled: !host.live, placeholder: "path of a video" }));
  file.pending = () => file.value !== "";
  const add = button("add as query", { disabled: !host.live, onclick: () => page.send({ do: "file", path: file.value }) }, "add the file as a query");
  const back = button("back to episodes", { disabled: !page.view.choice.by_hand || !host.live, onclick: () => page.choose({ number: page.view.choice.number }) });
  page.handFound = () => refill();
  refill();
  const toggled = (event) => {
    page.open.hand = event.target.open;
    if (event.target.open && !hand.found.length) page.send({ do: "find", text: hand.search });
  };
  return node("details", { open: page.open.hand, ontoggle: toggled }, quiet(node("summary", {}, "Clips of your choice")),
    node("div", { class: "controls" }, node("label", {}, node("span", {}, "class or file"), search),
      node("label", {}, node("span", {}, "a file from disk"), file), add, ask, clear, back),
    node("p", { class: "note" }, "The same number of support clips for each of two classes or more, and any clips as queries."),
    node("div", { role: "group", "aria-label": "chosen clips" }, chosen), node("div", { role: "group", "aria-label": "found clips" }, found));
}

function thumb(page, clip, changed) {
  const { hand, clock, sheets } = page;
  const toggle = (set) => () => {
    if (set.has(clip.row)) set.delete(clip.row);
    else set.set(clip.row, clip);
    changed();
  };
  const choose = (text, set) => button(text, { "aria-pressed": String(set.has(clip.row)), disabled: !page.host.live, onclick: toggle(set) }, `${text}: ${clip.video}`);
  return node("figure", {}, moving(clock, sheets, clip.row, "frames", 72, `${clip.video}: ${clip.class_name}`),
    node("figcaption", {}, clip.class_name), choose("support", hand.support), choose("query", hand.query));
}
