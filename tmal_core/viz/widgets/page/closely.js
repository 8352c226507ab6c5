// One query and one support clip: side by side with their times and flow, what was matched, and two frames large.

function closely(page) {
  const { view, clock, sheets } = page;
  const { query: i, support: j } = view.choice;
  const letter = view.classes[Math.floor(j / view.shot)].letter;
  const pair = node("div", { class: "pair-of-clips" },
    largeClip(page, view.queries[i], `query ${i + 1}`), largeClip(page, view.support[j], `support clip of ${letter}`));
  const tables = node("div", { class: "alignments" });
  for (const [kind, answer] of [["before", view.before], ["after", view.after]]) {
    if (!answer) continue;
    const title = kind === "after" ? "changed" : "as it is";
    if (!answer.parts) {
      tables.append(node("p", { class: "note" }, `${title}: this method matches no frame with a frame: it compares clips with class names, or answers an episode as a whole.`));
      continue;
    }
    const caption = node("figcaption", {}, node("b", {}, title), ` ${breakdownLine(answer.parts, answer.matcher)}`);
    const pick = (t, u) => { page.picked = [t, u]; page.draw(); };
    const scrolls = quiet(node("div", { class: "scrolls", role: "region", tabIndex: 0, "aria-label": `alignment, ${title}` }, alignment(answer.parts, page.picked, pick)));
    tables.append(node("figure", {}, caption, scrolls));
  }
  const how = "Dark pairs of frames are matched often; ● and ○ are the two directions' best paths, ◉ is on both. Click on a pair to see its frames.";
  return node("section", { "aria-label": "one query and one support clip" }, pair, tables, node("p", { class: "note" }, how), twoFrames(page));
}

function largeClip(page, clip, title) {
  const { clock, sheets, view } = page;
  const parts = [node("figcaption", {}, node("b", {}, title), ` ${clip.class_name} `, node("small", {}, clip.video)),
    moving(clock, sheets, clip.row, "frames", 168, `${title}, ${clip.video}`), timeLine(clock, sheets, clip.row, 168)];
  if (view.shows_flow) parts.push(moving(clock, sheets, clip.row, "flow", 168, `flow of ${clip.video}`));
  return node("figure", {}, ...parts);
}

// Both frames of a pair, large, beside each other.
function twoFrames(page) {
  const holder = node("div", { class: "two-frames", "aria-live": "polite" });
  if (!page.picked) return holder;
  const { view, host } = page;
  const answer = view.after || view.before;
  if (!answer.parts) return holder;
  const [t, u] = page.picked;
  const { query: i, support: j } = view.choice;
  const at = [[view.queries[i], answer.positions.query[t], "query", t], [view.support[j], answer.positions.support[u], "support", u]];
  for (const [clip, number, title, place] of at) {
    if (number === undefined) continue;
    const picture = node("img", { alt: `${title} frame ${place + 1}: native frame ${number} of ${clip.video}` });
    picture.addEventListener("load", () => URL.revokeObjectURL(picture.src));
    host.frame(clip.row, number).then((url) => { picture.src = url; }, (error) => { picture.alt = error.message; });
    holder.append(node("figure", {}, picture, node("figcaption", {}, `${title} frame ${place + 1}, native frame ${number}`)));
  }
  return holder;
}
