// What if: parts switched off, another matcher, other frames, other names; the answer before and after side by side.

function whatIf(page) {
  const { view, host } = page;
  const { switches, values, has, names, changed } = view.what_if;
  const off = { disabled: !host.live };
  const set = (name) => (value) => page.send({ do: "suppose", changes: { [name]: value } });
  const parts = node("div", { class: "controls", role: "group", "aria-label": "what if" });
  for (const [name, title] of [["text", "class names"], ["flow", "flow"], ["adapters", "temporal adapters"]]) {
    const box = node("input", { type: "checkbox", disabled: !host.live || !switches[name], onchange: () => set(name)(box.checked) });
    box.checked = switches[name] && values[name];
    parts.append(labelled(switches[name] ? title : `${title} (not in this method)`, box));
  }
  const asItIs = (value) => (value === null || value === undefined ? "none" : value);
  parts.append(choice("matcher", [[`as it is: ${asItIs(has.matching)}`, null], ...view.options.matching], values.matching, set("matching"),
    { disabled: !host.live || !switches.matching }));
  const smoothings = [0.003, 0.01, 0.03, 0.1, 0.3, 1];
  parts.append(choice("smoothing", [[`as it is: ${asItIs(has.smoothing)}`, null], ...smoothings], values.smoothing, set("smoothing"),
    { disabled: !host.live || !switches.smoothing }));
  parts.append(choice("frames per clip", [["as it is", null], ...view.options.num_frames], values.num_frames, set("num_frames"), off));
  parts.append(choice("the queries' frames", view.options.order, values.order, set("order"), off));
  const typed = names.map((name, label) => {
    const input = node("input", { type: "text", value: name, maxLength: 200, ...off });
    onTyped(input, () => page.send({ do: "rename", label, name: input.value }));
    return labelled(`name of ${view.classes[label].letter}`, input);
  });
  const undo = button("as it was", { disabled: !changed || !host.live, onclick: () => page.send({ do: "undo" }) }, "undo all of it");
  const note = "A part that is switched off is missing from a method that was trained with it.";
  return node("details", { class: "what-if", open: page.open.whatIf, ontoggle: (event) => { page.open.whatIf = event.target.open; } },
    quiet(node("summary", {}, "What if")), parts, node("div", { class: "controls" }, ...typed, undo), node("p", { class: "note" }, note));
}
