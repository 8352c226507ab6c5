"""The inspector in JupyterLab and under voila: every control, by mouse and by keyboard, against the state's numbers.

A control that no use below knows fails a test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser_pages import run_all_cells, serious, watched_pages
from playwright.sync_api import Locator, Page

from tmal_core.analysis.what_if import WhatIf
from tmal_core.models.methods import METHODS
from tmal_core.suite.inspector_server import serving
from tmal_core.viz.widgets.run_choice import RunChoice

CONTROLS = ".tmal-inspector :is(select, input, button, summary, [tabindex='0'])"
NAMES = """controls => controls.map(control => control.getAttribute('aria-label')
    || control.closest('label')?.querySelector('span')?.textContent || control.textContent)"""
SHOWN = """() => ['.distance', 'td > small'].map(
    what => [...document.querySelectorAll('.tmal-inspector ' + what)].map(cell => cell.innerText).join(' ')
).join(' | ')"""
FRAME = "() => Number(document.querySelector('.tmal-inspector .episode canvas').dataset.frame)"
NATIVE_FRAMES = 48
NUMBERS = {"way": "way", "shot": "shot", "seed": "seed", "episode": "number"}
"""Fields for whole numbers, and what the state calls them."""
HOSTS, HOWS = ("lab", "voila"), ("mouse", "keyboard")


def name_of(found: str) -> str:
    """A control's name without what changes from one episode to another."""
    patterns = {
        r"distance of query .*": "distance", r"name of \S+": "name of a class", r"query frame .*": "a pair of frames",
        r"\d+": "an episode's row", r".*, % right( [↑↓])?|least margin( [↑↓])?|classes( [↑↓])?": "a column's head",
        r"episode [↑↓]": "a column's head", r"(.*) \(not in this method\)": r"\1", r"play|pause": "play or pause",
        r"alignment, .*": "alignment",
    }  # fmt: skip
    for pattern, name in patterns.items():
        if re.fullmatch(pattern, found):
            return re.sub(f"^(?:{pattern})$", name, found)
    return found


class Alive:
    """The page, and a state that is asked for the same."""

    def __init__(self, page: Page, runs: Path) -> None:
        self.page, self.runs = page, RunChoice(runs, overrides={"compute.num_threads": 1})
        self.run, self.how = "first", "mouse"
        self.state = self.runs.open("first", episode_type=self.label("episode type").input_value())

    def label(self, name: str) -> Locator:
        """A control by the words before it; with those of a switch that the method does not have behind them."""
        span = self.page.locator("span", has_text=re.compile(rf"^{name}( \(not in this method\))?$"))
        return self.page.locator(".tmal-inspector label").filter(has=span).locator("select, input").first

    def button(self, text: str | re.Pattern[str], number: int = 0) -> Locator:
        pattern = re.compile(rf"^{re.escape(text)}$") if isinstance(text, str) else text
        return self.page.locator(".tmal-inspector button").filter(has_text=pattern).nth(number)

    def press(self, control: Locator) -> None:
        if self.how == "mouse":
            control.click()
        else:
            control.focus()
            self.page.keyboard.press("Enter")

    def choose(self, name: str) -> str:
        """The next option of a list, or the one before where there is none; what it says."""
        control = self.label(name)
        at, count = control.evaluate("list => [list.selectedIndex, list.options.length]")
        to = at + 1 if at + 1 < count else at - 1
        said = control.evaluate("(list, at) => list.options[at].text", to)  # what comes may be in another order
        if self.how == "mouse":
            control.select_option(index=to)
        else:
            control.focus()
            self.page.keyboard.press("ArrowDown" if to > at else "ArrowUp")
        return said

    def write(self, name: str, text: str) -> None:
        control = self.label(name)
        control.fill(text)
        if self.how == "mouse":
            self.page.locator(".tmal-inspector h3").click()
        else:
            self.page.keyboard.press("Enter")

    def tick(self, name: str) -> None:
        if self.how == "mouse":
            self.label(name).click()
        else:
            self.label(name).focus()
            self.page.keyboard.press(" ")

    def open(self, title: str) -> None:
        """A part of the page that can be closed."""
        part = self.page.locator(".tmal-inspector details").filter(has=self.page.get_by_text(title, exact=True)).first
        if part.get_attribute("open") is None:
            part.locator("summary").click()

    def agrees(self) -> None:
        """Wait until the page shows the state's distances, before and after."""
        state = self.state
        answers = [state.before, *([] if state.what_if.is_nothing else [state.after])]
        texts = [" ".join(f"{value:.3f}" for value in one.result.distances.ravel()) for one in answers]
        expected = " | ".join([*texts, ""][:2])
        self.page.wait_for_function(f"expected => ({SHOWN})() === expected", arg=expected)

    def ready(self) -> None:
        """A method with every part, on an episode as it is; the start of each use."""
        for name, title in (("method", METHODS["tmal"].title), ("run", self.run)):
            control = self.label(name)
            if control.evaluate("list => list.selectedOptions[0].text") != title:
                control.select_option(label=title)
        self.state.choose(method="tmal")
        if self.state.choice.shot != 1:
            self.write("shot", "1")
            self.state.choose(shot=1)
        undo = self.button("as it was")
        if undo.is_enabled():
            undo.click()
        self.state.suppose(**vars(WhatIf()))
        if self.state.by_hand is not None:
            self.button("back to episodes").click()
        # As the page stands: a use that failed must not take all that follow with it.
        self.state.choose(**{key: int(self.label(name).input_value()) for name, key in NUMBERS.items()})
        self.agrees()


def chosen(name: str, key: str, value: Callable[[str], Any] = str) -> Callable[[Alive], None]:
    def use(alive: Alive) -> None:
        alive.state.choose(**{key: value(alive.choose(name))})

    return use


def numbered(name: str, value: int) -> Callable[[Alive], None]:
    def use(alive: Alive) -> None:
        alive.write(name, "3.7")  # is not taken for 37
        assert alive.label(name).get_attribute("aria-invalid") == "true"
        to = value if getattr(alive.state.choice, NUMBERS[name]) != value else value + 1
        alive.write(name, str(to))
        alive.state.choose(**{NUMBERS[name]: to})

    return use


def use_shot(alive: Alive) -> None:
    alive.label("episode type").select_option("appearance")  # which has clips enough
    alive.state.choose(episode_type="appearance")
    alive.agrees()
    numbered("shot", 2)(alive)


def supposed(name: str, key: str, value: Callable[[str], Any]) -> Callable[[Alive], None]:
    def use(alive: Alive) -> None:
        alive.open("What if")
        alive.state.suppose(**{key: value(alive.choose(name))})

    return use


def switched(name: str, key: str) -> Callable[[Alive], None]:
    def use(alive: Alive) -> None:
        alive.open("What if")
        alive.tick(name)
        alive.state.suppose(**{key: False})

    return use


def searched(title: str, kind: Any) -> Callable[[Alive], None]:
    def use(alive: Alive) -> None:
        alive.press(alive.button(title))
        found = [number for number in alive.state.search(kind) if number is not None]
        if found:
            alive.state.choose(number=found[0])
        else:
            alive.page.get_by_text(f"No {kind} answer").wait_for()

    return use


def opens(title: str) -> Callable[[Alive], None]:
    def use(alive: Alive) -> None:
        summary = alive.page.locator(".tmal-inspector summary").get_by_text(title, exact=True)
        is_open = "summary => summary.parentElement.open"
        before = summary.evaluate(is_open)
        alive.press(summary)
        assert summary.evaluate(is_open) is not before

    return use


def region(label: str) -> Callable[[Alive], None]:
    def use(alive: Alive) -> None:
        if label == "the first episodes":
            alive.open("Episodes 0 to 199 as a table")
        found = alive.page.locator(f".tmal-inspector [role=region][aria-label^='{label}']").first
        found.focus()
        assert found.evaluate("region => region === document.activeElement || region.matches(':focus')")

    return use


def saved(title: str) -> Callable[[Alive], None]:
    def use(alive: Alive) -> None:
        alive.press(alive.button(title))
        ending = {"save as picture": "png", "save as page": "html"}[title]
        said = alive.page.locator(".tmal-inspector").get_by_text(re.compile(rf"saved: .*\.{ending}"))
        said.wait_for()
        assert Path(said.inner_text().removeprefix("saved: ")).stat().st_size > 1000

    return use


def stepped(title: str, by: int) -> Callable[[Alive], None]:
    def use(alive: Alive) -> None:
        paused(alive)
        before = alive.page.evaluate(FRAME)
        alive.press(alive.button(title))
        alive.page.wait_for_function(f"before => ({FRAME})() === before", arg=(before + by) % NATIVE_FRAMES)

    return use


def paused(alive: Alive) -> None:
    playing = alive.page.locator(".tmal-inspector .play[aria-pressed='true']")
    if playing.count():
        playing.click()
    alive.page.wait_for_function("document.querySelectorAll('.tmal-inspector .episode canvas[data-frame]').length > 1")


def use_run(alive: Alive) -> None:
    alive.run = alive.choose("run")
    reopened(alive)


def use_split(alive: Alive) -> None:
    alive.choose("split")
    reopened(alive)
    alive.how = "mouse"
    alive.label("split").select_option(label="val")
    reopened(alive)


def reopened(alive: Alive) -> None:
    split, kind = alive.label("split").input_value(), alive.state.choice.episode_type
    alive.state = alive.runs.open(alive.run, split)
    if kind in alive.state.answers.episode_types:
        alive.state.choose(episode_type=kind)
    alive.agrees()


def use_distance(alive: Alive) -> None:
    supports = alive.state.question.support.size
    alive.press(alive.page.locator(".tmal-inspector .distance").nth(supports + 1))
    alive.state.choose(query=1, support=1)
    alive.page.wait_for_selector(".tmal-inspector tr.chosen:nth-of-type(3)", state="attached")


def use_pair(alive: Alive) -> None:
    alive.press(alive.page.locator(".tmal-inspector .pair").nth(9))
    pictures = "[...document.querySelectorAll('.tmal-inspector .two-frames img')].filter(i => i.naturalWidth > 0)"
    alive.page.wait_for_function(f"{pictures}.length === 2")


def use_play(alive: Alive) -> None:
    paused(alive)
    alive.press(alive.page.locator(".tmal-inspector .play"))
    before = alive.page.evaluate(FRAME)
    alive.page.wait_for_function(f"before => ({FRAME})() !== before", arg=before)


def use_speed(alive: Alive) -> None:
    said = alive.choose("speed")
    assert alive.label("speed").evaluate("list => list.selectedOptions[0].text") == said


def use_stop(alive: Alive) -> None:
    """Both in one go, so that the search cannot have ended in between."""
    alive.page.evaluate("""() => {
        document.querySelector('.tmal-inspector .search').click();
        document.querySelector('.tmal-inspector .stop').click();
    }""")
    alive.page.wait_for_selector(".tmal-inspector .stop", state="hidden")
    alive.page.wait_for_selector(".tmal-inspector .status.busy", state="detached")
    alive.state.choose(number=int(alive.label("episode").input_value()))


def use_name(alive: Alive) -> None:
    alive.open("What if")
    alive.write("name of A", "a small red circle")
    alive.state.suppose(names={0: "a small red circle"})


def use_undo(alive: Alive) -> None:
    alive.open("What if")
    alive.label("the queries' frames").select_option(label="reversed")
    alive.state.suppose(order="reversed")
    alive.agrees()
    alive.press(alive.button("as it was"))
    alive.state.suppose(**vars(WhatIf()))


def use_row(alive: Alive) -> None:
    alive.open("Episodes 0 to 199 as a table")
    row = alive.page.locator(".tmal-inspector .episodes td > button").nth(5)
    number = int(row.inner_text())
    alive.press(row)
    alive.state.choose(number=number)


def use_column(alive: Alive) -> None:
    alive.open("Episodes 0 to 199 as a table")
    head = alive.page.locator(".tmal-inspector .episodes th", has_text="least margin")
    before = head.get_attribute("aria-sort")
    alive.press(head.locator("button"))
    alive.page.wait_for_function(
        """before => [...document.querySelectorAll('.tmal-inspector .episodes th')]
            .find(head => head.innerText.startsWith('least margin')).getAttribute('aria-sort') !== before""",
        arg=before,
    )


def found_clips(alive: Alive) -> Locator:
    alive.open("Clips of your choice")
    thumbs = alive.page.locator(".tmal-inspector [aria-label='found clips'] figure")
    thumbs.first.wait_for()
    return thumbs


def use_search(alive: Alive) -> None:
    thumbs = found_clips(alive)
    wanted = thumbs.last.locator("figcaption").inner_text()
    alive.label("class or file").fill(wanted)
    alive.page.wait_for_function(
        """wanted => [...document.querySelectorAll(".tmal-inspector [aria-label='found clips'] figcaption")]
            .every(caption => caption.innerText === wanted)""",
        arg=wanted,
    )
    alive.label("class or file").fill("")
    alive.page.wait_for_function("""() => new Set([...document.querySelectorAll(
        ".tmal-inspector [aria-label='found clips'] figcaption")].map(c => c.innerText)).size > 1""")


def thumb_button(text: str) -> Callable[[Alive], None]:
    """Chosen, and taken out again."""

    def use(alive: Alive) -> None:
        thumbs, kept = found_clips(alive), alive.page.locator(".tmal-inspector [aria-label='chosen clips'] figure")
        before = kept.count()
        for expected in (before + 1, before):
            alive.press(thumbs.first.locator("button", has_text=text))
            alive.page.wait_for_function(
                """expected => document.querySelectorAll(
                    ".tmal-inspector [aria-label='chosen clips'] figure").length === expected""",
                arg=expected,
            )
            assert thumbs.first.locator("button", has_text=text).evaluate("one => one.matches(':focus')")

    return use


def emptied(alive: Alive) -> None:
    clear = alive.button("take all out")
    if clear.is_enabled():
        alive.press(clear)
    assert clear.is_disabled()
    assert alive.page.locator(".tmal-inspector [aria-label='chosen clips'] figure").count() == 0


def use_clear(alive: Alive) -> None:
    found_clips(alive).first.locator("button", has_text="support").click()
    assert alive.button("take all out").is_enabled()
    emptied(alive)


def use_file(alive: Alive) -> None:
    found_clips(alive)
    answers, kept = alive.state.answers, alive.page.locator(".tmal-inspector [aria-label='chosen clips'] figure")
    path = answers.settings.data.folder / answers.catalog.table["path"].iat[0]
    before = kept.count()
    alive.label("a file from disk").fill(str(path))
    alive.press(alive.button("add as query"))
    kept.nth(before).wait_for()
    alive.state.answers.add(path)
    kept.nth(before).locator("button", has_text="query").click()


def use_ask(alive: Alive) -> None:
    """A question of one's own: a clip of each of two classes, and a query."""
    found_clips(alive)
    emptied(alive)
    table = alive.state.answers.catalog.table
    names = list(dict.fromkeys(table["class_name"]))[:2]
    rows = [int(table.index[table["class_name"] == name][0]) for name in names]
    query = int(table.index[table["class_name"] == names[0]][1])
    for row, kind in ((rows[0], "support"), (rows[1], "support"), (query, "query")):
        video = table["video"].iat[row]
        alive.label("class or file").fill(video)
        alive.page.locator(f".tmal-inspector [aria-label='found clips'] button[title='{kind}: {video}']").click()
    alive.press(alive.button("ask"))
    alive.state.ask({name: [row] for name, row in zip(names, rows, strict=True)}, [query])


def use_back(alive: Alive) -> None:
    if alive.state.by_hand is None:
        use_ask(alive)
        alive.agrees()
    alive.press(alive.button("back to episodes"))
    alive.state.choose(number=alive.state.choice.number)


def use_code(alive: Alive) -> None:
    alive.press(alive.button("show as Python"))
    alive.page.locator(".tmal-inspector .code").wait_for()


def none_or(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda said: None if said.startswith("as it is") else kind(said)


BY_TITLE = {method.title: name for name, method in METHODS.items()}
USES: dict[str, Callable[[Alive], None]] = {
    "run": use_run, "split": use_split,
    "method": chosen("method", "method", BY_TITLE.__getitem__),
    "compared with": chosen("compared with", "other", BY_TITLE.__getitem__),
    "episode type": chosen("episode type", "episode_type"),
    "way": numbered("way", 2), "shot": use_shot, "seed": numbered("seed", 4),
    "episode": numbered("episode", 3),
    "next wrong": searched("next wrong", "wrong"), "next uncertain": searched("next uncertain", "uncertain"),
    "next differing": searched("next differing", "differing"), "stop": use_stop,
    "play or pause": use_play, "◂ frame": stepped("◂ frame", -1), "frame ▸": stepped("frame ▸", 1), "speed": use_speed,
    "the episode: distances and answers": region("the episode"), "distance": use_distance,
    "alignment": region("alignment"), "a pair of frames": use_pair,
    "What if": opens("What if"), "class names": switched("class names", "text"), "flow": switched("flow", "flow"),
    "temporal adapters": switched("temporal adapters", "adapters"),
    "matcher": supposed("matcher", "matching", none_or(str)),
    "smoothing": supposed("smoothing", "smoothing", none_or(float)),
    "frames per clip": supposed("frames per clip", "num_frames", none_or(int)),
    "the queries' frames": supposed("the queries' frames", "order", str),
    "name of a class": use_name, "as it was": use_undo,
    "Episodes 0 to 199 as a table": opens("Episodes 0 to 199 as a table"),
    "the first episodes": region("the first episodes"),
    "an episode's row": use_row, "a column's head": use_column,
    "Clips of your choice": opens("Clips of your choice"), "class or file": use_search,
    "support": thumb_button("support"), "query": thumb_button("query"), "a file from disk": use_file,
    "add as query": use_file, "ask": use_ask, "take all out": use_clear, "back to episodes": use_back,
    "save as picture": saved("save as picture"), "save as page": saved("save as page"), "show as Python": use_code,
    "keys": opens("keys"),
}  # fmt: skip


@pytest.fixture(scope="module", params=HOSTS)
def host(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def alive(host, browser, runs, request) -> Iterator[Alive]:
    if host == "lab":
        link = request.getfixturevalue("lab").format("07_episode_inspection")
        with watched_pages(browser) as open_page:
            page = open_page(link)
            run_all_cells(page)
            yield shown(page, runs)
    else:
        with serving(runs / "first") as served, watched_pages(browser) as open_page:
            yield shown(open_page(served.link), runs)


def shown(page: Page, runs: Path) -> Alive:
    page.wait_for_selector(".tmal-inspector .episode", state="attached", timeout=300_000)
    page.locator(".tmal-inspector").scroll_into_view_if_needed()
    return Alive(page, runs)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", USES)
def test_a_control_does_what_the_state_does(alive, name, how):
    alive.how = "mouse"
    alive.ready()
    alive.how = how
    USES[name](alive)
    alive.agrees()


def test_no_control_is_left_out(alive):
    alive.ready()
    for title in ("What if", "Episodes 0 to 199 as a table", "Clips of your choice", "keys"):
        alive.open(title)
    alive.page.locator(".tmal-inspector .episodes td").first.wait_for()
    found_clips(alive)
    named = {name_of(found) for found in alive.page.eval_on_selector_all(CONTROLS, NAMES)}
    assert named == set(USES)


@pytest.mark.parametrize(
    "key, changes",
    [("n", {"number": 1}), ("p", {"number": -1}), ("q", {"query": 1}), ("s", {"support": 1})],
)
def test_keys_go_on(alive, key, changes):
    alive.ready()
    alive.state.choose(number=4)
    alive.how = "keyboard"
    alive.write("episode", "4")
    alive.agrees()
    alive.page.locator(".tmal-inspector").press(key)
    alive.state.choose(**{name: getattr(alive.state.choice, name) + by for name, by in changes.items()})
    alive.agrees()


@pytest.mark.parametrize("key, kind", [("w", "wrong"), ("u", "uncertain"), ("d", "differing")])
def test_keys_search(alive, key, kind):
    alive.ready()
    found = [number for number in alive.state.search(kind) if number is not None]
    alive.page.locator(".tmal-inspector").press(key)
    if found:
        alive.state.choose(number=found[0])
        alive.agrees()
    else:
        alive.page.get_by_text(f"No {kind} answer").wait_for()


def test_keys_play_and_step(alive):
    alive.ready()
    paused(alive)
    before = alive.page.evaluate(FRAME)
    for key, by in ((".", 1), (",", 0)):
        alive.page.locator(".tmal-inspector").press(key)
        alive.page.wait_for_function(f"f => ({FRAME})() === f", arg=(before + by) % NATIVE_FRAMES)
    alive.page.locator(".tmal-inspector").press(" ")
    assert alive.page.locator(".tmal-inspector .play").get_attribute("aria-pressed") == "true"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_for_those_who_read_otherwise(alive, scheme):
    alive.ready()
    alive.page.emulate_media(color_scheme=scheme)
    for title in ("What if", "Episodes 0 to 199 as a table", "Clips of your choice", "keys"):
        alive.open(title)
    alive.page.wait_for_timeout(500)
    assert serious(Axe().run(alive.page, context=".tmal-inspector")) == []


def test_a_new_picture_leaves_what_is_being_typed(alive):
    alive.ready()
    field, keyboard = alive.label("episode"), alive.page.keyboard
    field.focus()
    field.evaluate("field => field.select()")
    keyboard.type("1")
    # A search draws at once, and again when it has found something.
    alive.page.evaluate("document.querySelector('.tmal-inspector .search').click()")
    alive.page.wait_for_selector(".tmal-inspector .status.busy", state="detached")
    keyboard.type("2")
    assert field.input_value() == "12"
    keyboard.press("Enter")
    alive.state.choose(number=12)
    alive.agrees()


def test_an_error_keeps_the_last_episode(alive):
    alive.ready()
    alive.how = "keyboard"
    alive.write("way", "500")
    error = alive.page.locator(".tmal-inspector .status.error", has_text="expected")
    error.wait_for()
    assert alive.page.locator(".tmal-inspector .stale .episode").count() == 1
    alive.agrees()
    alive.write("way", str(alive.state.choice.way))
    alive.write("episode", "7")
    alive.state.choose(number=7)
    alive.agrees()
    error.wait_for(state="detached")


def test_it_is_whole_at_every_width(alive, host, pictures):
    """JupyterLab itself is not made for a phone's; voila is."""
    alive.ready()
    for width in {"lab": (1440, 1024), "voila": (1440, 1024, 390)}[host]:
        alive.page.set_viewport_size({"width": width, "height": 900})
        alive.page.locator(".tmal-inspector").evaluate("page => page.scrollIntoView()")
        alive.page.wait_for_timeout(300)
        wide = alive.page.locator(".tmal-inspector").evaluate("page => [page.scrollWidth, page.clientWidth]")
        alive.page.screenshot(path=pictures / f"inspector-{host}-{width}.png")
        assert wide[0] <= wide[1], width
    alive.page.set_viewport_size({"width": 1440, "height": 1100})
