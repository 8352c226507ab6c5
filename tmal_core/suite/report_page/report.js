// The report's page: marks that say their values, tables that sort, clips that play, and everything open on paper.

const LEFT = ["ArrowLeft", "ArrowUp"];
const RIGHT = ["ArrowRight", "ArrowDown"];
const tip = document.getElementById("tip");

// One stop of the tab key a chart; arrow keys go from mark to mark.
for (const plot of document.querySelectorAll(".plot")) {
  const marks = [...plot.querySelectorAll(".mark")];
  const show = (event) => event.target.closest(".mark") && say(event.target.closest(".mark"));
  plot.addEventListener("pointerover", show);
  plot.addEventListener("focusin", show);
  plot.addEventListener("pointerleave", () => { tip.hidden = true; });
  plot.addEventListener("focusout", () => { tip.hidden = true; });
  plot.addEventListener("keydown", (event) => {
    if (event.key === "Escape") tip.hidden = true;
    const at = marks.indexOf(document.activeElement);
    const to = { Home: 0, End: marks.length - 1 }[event.key] ?? at + RIGHT.includes(event.key) - LEFT.includes(event.key);
    if (at < 0 || to === at || !marks[to]) return;
    event.preventDefault();
    marks[at].tabIndex = -1;
    marks[to].tabIndex = 0;
    marks[to].focus();
  });
}

function say(mark) {
  tip.textContent = mark.getAttribute("aria-label");
  tip.hidden = false;
  const box = mark.getBoundingClientRect();
  const left = Math.max(8, Math.min(box.left + box.width / 2 - tip.offsetWidth / 2, document.documentElement.clientWidth - tip.offsetWidth - 8));
  const above = box.top - tip.offsetHeight - 6;
  tip.style.left = `${left + scrollX}px`;
  tip.style.top = `${(above > 8 ? above : box.bottom + 6) + scrollY}px`;
}

for (const table of document.querySelectorAll(".sorts")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => head.firstElementChild.addEventListener("click", () => sort(table, head, column)));
}

function sort(table, head, column) {
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const numeric = head.classList.contains("number");
  const key = (row) => row.cells[column].dataset.key ?? row.cells[column].textContent;
  const compare = (a, b) => (numeric ? Number(a) - Number(b) : a.localeCompare(b, "en"));
  const rows = [...table.tBodies[0].rows];
  const full = rows.filter((row) => key(row) !== "");
  full.sort((a, b) => (down ? -1 : 1) * compare(key(a), key(b)));
  table.tBodies[0].append(...full, ...rows.filter((row) => key(row) === "")); // empty cells last, both ways
}

const player = document.querySelector(".player");
if (player) {
  const known = JSON.parse(document.getElementById("clips").textContent);
  const clock = new Clock();
  const sheets = new Sheets(async (row) => known[row]);
  for (const screen of document.querySelectorAll(".screen"))
    screen.replaceWith(moving(clock, sheets, Number(screen.dataset.row), "frames", 112, screen.dataset.said));
  const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  let wanted = !still;
  const play = button("", { onclick: () => { wanted = !wanted; go(); } }, "play or pause all clips");
  const speeds = [0.25, 0.5, 1, 2].map((speed) => [`${speed} times`, speed]);
  player.append(play, choice("speed", speeds, 1, (speed) => { clock.speed = speed; }));
  const go = () => { // what nobody sees need not be drawn
    play.textContent = wanted ? "pause" : "play";
    clock.play(wanted && inView.size > 0);
  };
  const inView = new Set();
  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) inView[isIntersecting ? "add" : "delete"](target);
    go();
  });
  for (const some of document.querySelectorAll(".examples")) watch.observe(some);
  go();
}

// Paper cannot be unfolded.
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const one of closed) one.open = true;
});
addEventListener("afterprint", () => {
  for (const one of closed) one.open = false;
});
