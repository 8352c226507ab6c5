// Nodes of the page. Every control carries the attribute that keeps JupyterLab's keys (m, x, d d, arrows) off it: it must
// stand on the very node that has the focus, on an ancestor it does not work.

const QUIET = "data-lm-suppress-shortcuts";

function node(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && typeof value !== "string") made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function quiet(control) {
  control.setAttribute(QUIET, "");
  return control;
}

function button(text, properties, title) {
  return quiet(node("button", { type: "button", title, ...properties }, text));
}

function labelled(text, control) {
  return node("label", {}, node("span", {}, text), quiet(control));
}

function choice(text, options, value, chosen, properties = {}) {
  const pairs = options.map((option) => (Array.isArray(option) ? option : [String(option), option]));
  const select = node("select", { onchange: () => chosen(pairs[select.selectedIndex][1]), ...properties });
  for (const [title, key] of pairs) select.append(node("option", { selected: key === value }, title));
  return labelled(text, select);
}

// What is typed counts when the field is left, or at Enter: JupyterLab keeps that key's own change event from a field.
// Until then it is `pending`, and a new picture carries it on (`refocus`).
function onTyped(input, ask) {
  let asked = input.value;
  input.pending = () => input.value !== asked;
  const changed = () => {
    if (input.value === asked) return;
    asked = input.value;
    ask();
  };
  input.addEventListener("change", changed);
  input.addEventListener("keydown", (event) => { if (event.key === "Enter") changed(); });
}

// A whole number and nothing else: what is no number stays in the field, marked, and is not asked for.
function wholeNumber(text, value, least, chosen, properties = {}) {
  const input = node("input", { type: "text", inputmode: "numeric", value: String(value), size: 5, ...properties });
  const ask = () => {
    const good = /^\d+$/.test(input.value.trim()) && Number(input.value) >= least;
    input.setAttribute("aria-invalid", String(!good));
    input.title = good ? "" : `a whole number from ${least} on`;
    if (good && Number(input.value) !== value) chosen(Number(input.value));
  };
  onTyped(input, ask);
  return labelled(text, input);
}

function percent(value) {
  return `${(100 * value).toFixed(0)} %`;
}
