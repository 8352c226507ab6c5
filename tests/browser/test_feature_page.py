"""The exported map of features, opened from disk with the network off: every control by mouse and by keyboard."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe

from tmal_core.viz.widgets.feature_export import save_page
from tmal_core.viz.widgets.feature_state import FeatureState
from tmal_core.viz.widgets.run_choice import RunChoice

FOCUSED = "document.activeElement.dataset"
FRAMES = "[...document.querySelectorAll('.chosen-clip canvas[data-frame]')].map(c => Number(c.dataset.frame))"
USED = {
    "select": "what cannot be asked of a file is off",
    ".point": "test_a_point_plays_its_clip",
    ".play": "test_the_clip_stops_and_steps",
    "[title*='frame back'], [title*='frame on']": "test_the_clip_stops_and_steps",
    ".class-button": "test_classes_stand_out",
    ".cell": "test_cells_open_the_answers_behind_them",
    "[data-case]": "test_cells_open_the_answers_behind_them",
    "summary": "test_keys_are_listed",
    "[role=region]": "they scroll",
    "[tabindex='-1'].tmal-features": "the page itself",
}
"""Controls, and where they are used."""


@pytest.fixture(scope="module")
def state(smoke_run):
    opened = RunChoice(smoke_run.parent, overrides={"compute.num_threads": 1}).open(smoke_run.name)
    return FeatureState(opened.answers, episode_type="order", count=60)


@pytest.fixture(scope="module")
def exported(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "features.html"
    save_page(state, path)
    return path.as_uri()


@pytest.fixture
def page(exported, opened):
    return opened(exported, offline=True)


def test_it_shows_the_state(page, state):
    shown = state.shown
    for side in range(2):
        rows = (
            page.locator(".map").nth(side).locator(".point").evaluate_all("all => all.map(p => Number(p.dataset.row))")
        )
        assert rows == shown.rows.tolist()
    cells = dict(page.locator(".cell").evaluate_all("all => all.map(c => [c.dataset.cell, c.innerText])"))
    expected = {}
    for (asked, answered), _ in shown.answers.groupby(["asked", "answered"]):
        key = f"{shown.classes.index(asked)},{shown.classes.index(answered)}"
        expected[key] = shown.confusion.loc[asked, answered]
    assert cells.keys() == expected.keys()
    assert all(abs(float(cells[key]) - share) <= 0.5 for key, share in expected.items())
    left, right = (page.locator(".map").nth(0).locator(".point").nth(n).get_attribute("data-x") for n in (0, 1))
    assert (float(left) < float(right)) == (shown.places["otam"][0, 0] < shown.places["otam"][1, 0])


def chosen(page):
    return page.locator(".point[aria-pressed=true]").evaluate_all("all => all.map(p => Number(p.dataset.row))")


def test_a_point_plays_its_clip(page, state):
    row = int(state.shown.rows[3])
    page.locator(".map").nth(0).locator(".point").nth(3).dispatch_event("click")
    assert chosen(page) == [row, row], "in both maps"
    page.wait_for_function(f"{FRAMES}.length === 1")
    first = page.evaluate(FRAMES)
    page.wait_for_function(f"{FRAMES}[0] !== {first[0]}")
    name = state.catalog.table["video"].iat[row]
    assert name in page.locator(".chosen-clip").inner_text()


def test_points_by_keyboard(page, state):
    page.locator(".map").nth(1).locator(".point[tabindex='0']").focus()
    assert page.locator(".map").nth(1).locator(".point[tabindex='0']").count() == 1, "one stop of the Tab key"
    seen, back = set(), 0
    for _ in state.shown.rows:
        seen.add(int(page.evaluate(f"{FOCUSED}.row")))
        x = float(page.evaluate(f"{FOCUSED}.x"))
        page.keyboard.press("ArrowRight")
        back += float(page.evaluate(f"{FOCUSED}.x")) < x
    assert back == 1, "from left to right, and once around"
    assert seen == set(state.shown.rows.tolist()), "arrows reach every point"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Home")
    assert int(page.evaluate(f"{FOCUSED}.row")) == state.shown.rows[0]
    page.keyboard.press("End")
    assert int(page.evaluate(f"{FOCUSED}.row")) == state.shown.rows[-1]
    page.keyboard.press("Enter")
    assert chosen(page) == [state.shown.rows[-1]] * 2
    page.keyboard.press("ArrowLeft")
    page.keyboard.press(" ")
    assert chosen(page) == [int(page.evaluate(f"{FOCUSED}.row"))] * 2
    ring = page.evaluate("getComputedStyle(document.activeElement.querySelector('.ring')).stroke")
    assert ring not in ("none", "rgba(0, 0, 0, 0)")


@pytest.mark.parametrize("by_keyboard", [False, True])
def test_the_clip_stops_and_steps(page, by_keyboard):
    page.locator(".point").nth(0).dispatch_event("click")
    page.wait_for_function(f"{FRAMES}.length === 1")
    if by_keyboard:
        page.locator(".tmal-features").press(" ")
    else:
        page.get_by_role("button", name="pause").click()
    stopped = page.evaluate(FRAMES)[0]
    page.wait_for_timeout(200)
    assert page.evaluate(FRAMES)[0] == stopped
    if by_keyboard:
        page.locator(".tmal-features").press(".")
    else:
        page.get_by_role("button", name="frame ▸").click()
    page.wait_for_function(f"{FRAMES}[0] === {(stopped + 1) % 48}")
    if by_keyboard:
        page.locator(".tmal-features").press(",")
    else:
        page.get_by_role("button", name="◂ frame").click()
    page.wait_for_function(f"{FRAMES}[0] === {stopped}")
    speed = page.locator("select:not([disabled])")
    if by_keyboard:
        speed.focus()
        page.keyboard.press("Home")
    else:
        speed.select_option(label="0.25 times")
    page.locator(".play").click()
    page.wait_for_timeout(1000)
    assert 0 < (page.evaluate(FRAMES)[0] - stopped) % 48 < 24, "slower than the clip's 24 frames a second"


@pytest.mark.parametrize("by_keyboard", [False, True])
def test_classes_stand_out(page, state, by_keyboard):
    first = page.locator(".class-button").first
    first.press("Enter") if by_keyboard else first.click()
    faded = page.locator(".map").nth(0).locator(".faded").count()
    assert faded == (state.shown.labels != 0).sum() and first.get_attribute("aria-pressed") == "true"
    first.press(" ") if by_keyboard else first.click()
    assert page.locator(".faded").count() == 0


@pytest.mark.parametrize("by_keyboard", [False, True])
def test_cells_open_the_answers_behind_them(page, state, by_keyboard):
    if by_keyboard:
        page.locator(".cell[tabindex='0']").focus()
        page.keyboard.press("End")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("Home")
        page.keyboard.press("Enter")
    else:
        page.locator(".cell").first.click()
    key = page.locator(".cell[aria-pressed=true]").get_attribute("data-cell")
    asked, answered = (state.shown.classes[int(n)] for n in key.split(","))
    cell = state.shown.cell(asked, answered)
    cases = page.locator("[data-case]").evaluate_all("all => all.map(c => c.dataset.case)")
    assert cases == [f"{row.episode},{row.query}" for row in cell.itertuples()]
    ringed = page.locator(".map").nth(0).locator(".fell").count()
    assert ringed == cell["row"].nunique()
    case = page.locator("[data-case]").last
    case.press("Enter") if by_keyboard else case.click()
    count = 2 if asked == answered else 3
    page.wait_for_function(f"document.querySelectorAll('.thumbs-row canvas[data-frame]').length === {count}")
    last = cell.iloc[-1]
    videos = [state.catalog.table["video"].iat[row] for row in dict.fromkeys(last[["row", "own_row", "answered_row"]])]
    text = page.locator(".thumbs-row").inner_text()
    assert all(video in text for video in videos) and chosen(page) == []


def test_keys_are_listed(page):
    page.locator("summary").press("Enter")
    assert page.locator(".keys li").count() == 4 and page.locator(".keys").is_visible()
    page.locator("summary").click()
    assert not page.locator(".keys").is_visible()


def test_every_control_is_used_here_and_keeps_its_keys_to_itself(page):
    page.locator(".cell").first.click()
    focusable = "select, input, button, summary, a, [tabindex]"
    known = ", ".join(USED)
    unknown = page.locator(focusable).evaluate_all(
        "(all, known) => all.filter(c => !c.matches(known)).map(c => c.outerHTML)", known
    )
    assert unknown == []
    loud = "all => all.filter(c => !c.hasAttribute('data-lm-suppress-shortcuts')).map(c => c.outerHTML)"
    assert page.locator(focusable).evaluate_all(loud) == []
    assert page.locator("select:not([disabled])").count() == 1, "speed alone"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_serious_for_those_who_read_otherwise(exported, opened, scheme, width):
    page = opened(exported, width=width, offline=True, color_scheme=scheme)
    page.locator(".point").first.dispatch_event("click")
    page.locator(".cell").first.click()
    page.locator("[data-case]").first.click()
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.wait_for_timeout(500)
    found = Axe().run(page).response["violations"]
    serious = [f"{v['id']}: {v['nodes'][0]['html'][:120]}" for v in found if v["impact"] in ("serious", "critical")]
    assert serious == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
