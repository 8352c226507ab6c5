"""The map of features in notebook 7: what only a live one can do. What the exported page does too is tested there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser_pages import run_all_cells, serious, watched_pages

from tmal_core.viz.widgets.feature_state import FeatureState
from tmal_core.viz.widgets.feature_view import message
from tmal_core.viz.widgets.run_choice import RunChoice

MAP = ".tmal-features"
ALIVE = ("episode type", "after training", "save as picture", "save as page")
"""Controls that are off, or missing, in the exported page."""


@pytest.fixture(scope="module")
def page(lab, browser):
    with watched_pages(browser) as open_page:
        page = open_page(lab.format("07_episode_inspection"))
        run_all_cells(page)
        page.wait_for_selector(f"{MAP} .cell", state="attached", timeout=300_000)
        page.locator(MAP).scroll_into_view_if_needed()
        yield page


@pytest.fixture(scope="module")
def state(page, runs):
    answers = RunChoice(runs, overrides={"compute.num_threads": 1}).open("first").answers
    shown = select(page, "episode type").input_value()
    return FeatureState(answers, before="otam", after=list(answers.methods)[-1], episode_type=shown)


def select(page, name):
    return (
        page.locator(f"{MAP} label")
        .filter(has=page.locator("span", has_text=re.compile(f"^{name}$")))
        .locator("select")
    )


def agrees(page, state):
    """Points of the state's clips, what came out in words, and as many kinds of answers."""
    page.wait_for_function(
        f"""([rows, said]) => {{
            const found = [...document.querySelectorAll("{MAP} .map")[1].querySelectorAll(".point")];
            return JSON.stringify(found.map(point => Number(point.dataset.row))) === JSON.stringify(rows)
                && document.querySelector("{MAP} .status").innerText === said;
        }}""",
        arg=[state.shown.rows.tolist(), message(state)],
    )
    assert page.locator(f"{MAP} .cell").count() == len(state.shown.answers.groupby(["asked", "answered"]))


@pytest.mark.parametrize("how", ["mouse", "keyboard"])
@pytest.mark.parametrize("name, key", [("episode type", "episode_type"), ("after training", "after")])
def test_another_choice_shows_what_the_state_shows(page, state, name, key, how):
    control = select(page, name)
    at, values = control.evaluate("list => [list.selectedIndex, [...list.options].map(one => one.value)]")
    if len(values) == 1:
        pytest.fail(f"expected a second {name} to choose, got {values}")
    to = at + 1 if at + 1 < len(values) else at - 1
    known = {"episode_type": list(state.answers.episode_types), "after": state.others}[key]
    if how == "mouse":
        control.select_option(index=to)
    else:
        control.focus()
        page.keyboard.press("ArrowDown" if to > at else "ArrowUp")
    state.choose(**{key: known[to]})
    agrees(page, state)
    assert select(page, name).evaluate("list => list.selectedIndex") == to


@pytest.mark.parametrize("by_keyboard", [False, True])
def test_an_answer_opens_its_episode_in_the_inspector(page, state, by_keyboard):
    page.locator(f"{MAP} .cell").first.click()
    case = page.locator(f"{MAP} [data-case]").nth(-1 if by_keyboard else 0)
    episode, query = case.get_attribute("data-case").split(",")
    case.press("Enter") if by_keyboard else case.click()
    page.get_by_text(f"episode {episode}, query {int(query) + 1} is open in the inspector").wait_for()
    page.wait_for_function(
        "start => document.querySelector('.tmal-inspector h3').innerText.startsWith(start)",
        arg=f"{state.choice.episode_type}, episode {episode} of",
    )


@pytest.mark.parametrize("title, ending", [("save as picture", "png"), ("save as page", "html")])
@pytest.mark.parametrize("by_keyboard", [False, True])
def test_it_is_saved(page, title, ending, by_keyboard):
    control = page.locator(f"{MAP} button", has_text=title)
    control.press("Enter") if by_keyboard else control.click()
    said = page.locator(MAP).get_by_text(re.compile(rf"saved: .*\.{ending}"))
    said.wait_for()
    assert Path(said.inner_text().removeprefix("saved: ")).stat().st_size > 1000


def test_what_only_lives_here_is_known(page):
    off = f"{MAP} select, {MAP} [aria-label='take it with you'] button"
    named = page.locator(off).evaluate_all(
        "all => all.map(one => one.closest('label')?.querySelector('span')?.textContent || one.textContent)"
    )
    assert set(named) == {*ALIVE, "speed"}  # the clip's speed is used in the exported page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_for_those_who_read_otherwise(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.locator(f"{MAP} .point").first.dispatch_event("click")
    page.wait_for_timeout(300)
    assert serious(Axe().run(page, context=MAP)) == []
