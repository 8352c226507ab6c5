// In a notebook or under voila: views are a synchronised trait, the rest are messages with pictures behind them.

function liveHost(model) {
  const waiting = new Map(); // id -> [done, failed]
  let asked = 0;
  const listeners = { view: [], news: [] };
  const request = (message) => new Promise((done, failed) => {
    asked += 1;
    waiting.set(asked, [done, failed]);
    model.send({ ...message, id: asked });
  });
  const onMessage = (content, buffers) => {
    if (content.id === undefined) { listeners.news.forEach((tell) => tell(content)); return; }
    const [done, failed] = waiting.get(content.id) || [() => {}, () => {}];
    waiting.delete(content.id);
    if (content.error) failed(new Error(content.error));
    else done({ ...content, urls: Object.fromEntries((content.kinds || []).map((kind, n) => [kind, url(buffers[n])])) });
  };
  const onView = () => listeners.view.forEach((tell) => tell(model.get("view")));
  model.on("msg:custom", onMessage);
  model.on("change:view", onView);
  return {
    live: true,
    view: () => model.get("view"),
    send: (message) => model.send(message),
    changed: (tell) => listeners.view.push(tell),
    told: (tell) => listeners.news.push(tell),
    clip: (row) => request({ do: "clip", row }),
    frame: (row, number) => request({ do: "frame", row, number }).then(({ urls }) => urls.frame),
    closed: () => { model.off("msg:custom", onMessage); model.off("change:view", onView); },
  };
}

function url(buffer) {
  return URL.createObjectURL(new Blob([buffer], { type: "image/webp" }));
}
