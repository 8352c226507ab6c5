// The first episodes as a table that sorts; each row leads to its episode.

function episodesTable(page) {
  const { host } = page;
  const holder = node("div", { class: "scrolls", role: "region", "aria-label": "the first episodes", tabIndex: 0 });
  const fill = () => {
    const { columns, rows } = page.table;
    const { by, down } = page.sorted;
    const at = columns.findIndex((column) => column.key === by);
    const ordered = [...rows].sort((a, b) => (down ? -1 : 1) * (a[at] > b[at] ? 1 : a[at] < b[at] ? -1 : 0));
    const heads = columns.map((column) => {
      const mark = column.key === by ? (down ? " ↓" : " ↑") : "";
      const sort = () => { page.sorted = { by: column.key, down: column.key === by ? !down : false }; fill(); };
      const head = button(column.title + mark, { onclick: sort }, `sort by ${column.title}`);
      return node("th", { scope: "col", "aria-sort": column.key === by ? (down ? "descending" : "ascending") : "none" }, head);
    });
    const lines = ordered.map((row) => {
      const go = button(String(row[0]), { disabled: !host.live, onclick: () => page.choose({ number: row[0] }) }, `show episode ${row[0]}`);
      const cells = row.slice(1).map((value) => node("td", {}, typeof value === "number" ? value.toFixed(value > 1 ? 0 : 2) : value));
      return node("tr", { class: row[0] === page.view.choice.number ? "chosen" : "" }, node("td", {}, go), ...cells);
    });
    holder.replaceChildren(node("table", { class: "episodes" }, node("thead", {}, node("tr", {}, ...heads)), node("tbody", {}, ...lines)));
  };
  if (page.table) fill();
  else holder.append(node("p", { class: "note" }, "asking ..."));
  const toggled = (event) => {
    page.open.table = event.target.open;
    if (event.target.open && !page.table) page.send({ do: "table" });
  };
  return node("details", { open: page.open.table, ontoggle: toggled }, quiet(node("summary", {}, "Episodes 0 to 199 as a table")), quiet(holder));
}
