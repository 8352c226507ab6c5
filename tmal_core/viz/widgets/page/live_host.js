// In a notebook or under voila: views are a synchronised trait, the rest are messages with pictures behind them.

function liveHost(model) {
  const waiting = new Map(); // id -> [done, failed]
  let asked = 0;
  const listeners = { view: [], news: [] };
  const request = (sent) => new Promise((done, failed) => {
    asked += 1;
    waiting.set(asked, [done, failed]);
    sent(asked);
  });
  const wanted = []; // clips that are asked for in the same moment go in one message: each has its price
  const clip = (row) => request((id) => {
    if (wanted.push({ row, id }) === 1) queueMicrotask(() => model.send({ do: "clips", wanted: wanted.splice(0) }));
  });
  const onMessage = (content, buffers) => {
    if (content.id === undefined) { listeners.news.forEach((tell) => tell(content)); return; }
    const [done, failed] = waiting.get(content.id) || [() => {}, () => {}];
    waiting.delete(content.id);
    if (content.error) failed(new Error(content.error));
    else done({ ...content, pictures: Object.fromEntries((content.kinds || []).map((kind, n) => [kind, picture(buffers[n])])) });
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
    clip,
    frame: (row, number) => request((id) => model.send({ do: "frame", row, number, id })).then(({ pictures }) => URL.createObjectURL(pictures.frame)),
    closed: () => { model.off("msg:custom", onMessage); model.off("change:view", onView); },
  };
}

function picture(buffer) {
  return new Blob([buffer], { type: "image/webp" });
}
