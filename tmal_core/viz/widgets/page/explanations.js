// The chooser of explanations: what is chosen goes to the kernel, a picture with its words comes back.

function explanations({ model, el }) {
  const status = node("p", { class: "status", role: "status" });
  const controls = node("div", { class: "controls", role: "group", "aria-label": "What is explained" });
  const image = node("img", { style: "max-width: 100%" });
  el.append(node("section", { class: "tmal-inspector", "aria-label": "Explanations" }, controls, status, image));
  const tell = (text, wrong = false) => {
    status.textContent = text;
    status.className = wrong ? "status error" : "status";
  };
  const ask = (changes) => {
    tell("Computing …");
    image.classList.add("stale");
    model.send({ changes });
  };
  const draw = () => {
    const { choice: chosen, options, words } = model.get("view");
    const held = el.getRootNode().activeElement;
    const name = held && controls.contains(held) ? held.getAttribute("data-control") : null;
    const pick = (text, key) =>
      choice(text, options[key], chosen[key], (value) => ask({ [key]: value }), { "data-control": key });
    controls.replaceChildren(
      pick("method", "method"),
      pick("episode type", "episode_type"),
      wholeNumber("episode", chosen.number, 0, (number) => ask({ number }), { "data-control": "number" }),
      pick("query", "query"),
      pick("class that is explained", "label"),
      pick("patches of", "what"),
    );
    if (name) controls.querySelector(`[data-control="${name}"]`).focus();
    URL.revokeObjectURL(image.src);
    image.src = URL.createObjectURL(new Blob([model.get("picture")], { type: "image/png" }));
    image.alt = words;
  };
  const told = ({ error }) => {
    tell(error, Boolean(error));
    image.classList.remove("stale");
    if (error) draw();
  };
  model.on("change:view", draw);
  model.on("msg:custom", told);
  draw();
  return () => {
    model.off("change:view", draw);
    model.off("msg:custom", told);
    URL.revokeObjectURL(image.src);
  };
}

export default { render: explanations };
