// What is asked: run, split, method, episode; searches; how clips play.

function controls(page) {
  const { view, host } = page;
  const { choice: now, options } = view;
  const set = (name) => (value) => page.choose({ [name]: value });
  const off = { disabled: !host.live };
  const line = node("div", { class: "controls", role: "group", "aria-label": "what is asked" });
  if (options.run) line.append(choice("run", options.run, view.run, (value) => page.send({ do: "open", run: value }), off));
  if (options.split) line.append(choice("split", options.split, view.split, (value) => page.send({ do: "open", split: value }), off));
  line.append(
    choice("method", options.method, now.method, set("method"), off),
    choice("compared with", options.method, now.other, set("other"), off),
    choice("episode type", options.episode_type, now.episode_type, set("episode_type"), off),
    wholeNumber("way", now.way, 2, set("way"), off),
    wholeNumber("shot", now.shot, 1, set("shot"), off),
    wholeNumber("seed", now.seed, 0, set("seed"), off),
    wholeNumber("episode", now.number, 0, set("number"), off),
  );
  for (const [kind, title, key] of [["wrong", "next wrong", "w"], ["uncertain", "next uncertain", "u"], ["differing", "next differing", "d"]])
    line.append(button(title, { ...off, class: "search", onclick: () => page.search(kind) }, `${title} (${key})`));
  line.append(button("stop", { class: "stop", hidden: !page.searching, onclick: () => page.send({ do: "stop" }) }, "stop searching (Escape)"));
  return line;
}

function playing(page) {
  const { clock } = page;
  const play = button("", { class: "play", onclick: () => page.play() }, "play or pause (space)");
  page.playShows = () => {
    play.textContent = clock.playing ? "pause" : "play";
    play.setAttribute("aria-pressed", String(clock.playing));
  };
  page.playShows();
  const speeds = [0.25, 0.5, 1, 2].map((speed) => [`${speed} times`, speed]);
  return node("div", { class: "controls", role: "group", "aria-label": "how clips play" },
    play,
    button("◂ frame", { onclick: () => page.step(-1) }, "one frame back (,)"),
    button("frame ▸", { onclick: () => page.step(1) }, "one frame on (.)"),
    choice("speed", speeds, clock.speed, (speed) => { clock.speed = speed; }),
  );
}

const KEYS = {
  " ": ["play or pause", (page) => page.play()],
  ",": ["one frame back", (page) => page.step(-1)],
  ".": ["one frame on", (page) => page.step(1)],
  n: ["next episode", (page) => page.choose({ number: page.view.choice.number + 1 })],
  p: ["previous episode", (page) => page.choose({ number: Math.max(0, page.view.choice.number - 1) })],
  q: ["next query", (page) => page.choose({ query: page.view.choice.query + 1 })],
  s: ["next support clip", (page) => page.choose({ support: page.view.choice.support + 1 })],
  w: ["next wrong", (page) => page.search("wrong")],
  u: ["next uncertain", (page) => page.search("uncertain")],
  d: ["next where the two methods differ", (page) => page.search("differing")],
  Escape: ["stop searching", (page) => page.send({ do: "stop" })],
};

function onKey(page, event) {
  const typing = event.target.matches("input, select, textarea");
  const pressing = event.key === " " && event.target.matches("button, summary");
  const known = KEYS[event.key];
  if (!known || event.ctrlKey || event.metaKey || event.altKey || pressing) return;
  if (typing && event.key !== "Escape") return;
  if (!page.host.live && !" ,.".includes(event.key)) return;
  event.preventDefault();
  known[1](page);
}

function keysHelp() {
  const rows = Object.entries(KEYS).map(([key, [what]]) => node("li", {}, node("kbd", {}, key === " " ? "space" : key), ` ${what}`));
  return node("details", {}, quiet(node("summary", {}, "keys")), node("ul", { class: "keys" }, ...rows));
}
