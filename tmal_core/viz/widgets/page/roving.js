// Many of a kind are one stop of the Tab key: arrows, Home and End go from one to the next.

function roving(holder, selector, next) {
  const all = () => [...holder.querySelectorAll(selector)];
  const reach = (control) => all().forEach((one) => one.setAttribute("tabindex", one === control ? "0" : "-1"));
  holder.addEventListener("focusin", (event) => {
    const here = event.target.closest(selector);
    if (here) reach(here);
  });
  holder.addEventListener("keydown", (event) => {
    const here = event.target.closest(selector);
    if (!here || event.ctrlKey || event.metaKey || event.altKey) return;
    const controls = all();
    const ends = { Home: controls[0], End: controls[controls.length - 1] };
    const there = ends[event.key] || next(here, event.key, controls);
    if (!there) return;
    event.preventDefault();
    event.stopPropagation();
    there.focus();
  });
  reach(all()[0]);
  return holder;
}
