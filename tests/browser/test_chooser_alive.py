"""The chooser of explanations in notebook 6: every control, by mouse and by keyboard, against the state's words."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser_pages import run_all_cells, serious, watched_pages

from tmal_core.analysis.faithfulness_bars import verdicts
from tmal_core.tasks.faithfulness_table import kept_table
from tmal_core.viz.widgets.explanation_state import ExplanationState
from tmal_core.viz.widgets.run_choice import RunChoice

CHOOSER = "section[aria-label='Explanations']"
CONTROLS = f"{CHOOSER} :is(select, input, button, a, summary, [tabindex])"
KEYS = ("method", "episode_type", "number", "query", "label", "what")


@pytest.fixture(scope="module")
def page(lab, browser):
    with watched_pages(browser) as open_page:
        page = open_page(lab.format("06_attention_visualisation"))
        run_all_cells(page)
        page.wait_for_selector(CHOOSER, state="attached", timeout=300_000)
        page.locator(CHOOSER).scroll_into_view_if_needed()
        yield page


@pytest.fixture(scope="module")
def state(runs):
    answers = RunChoice(runs, overrides={"compute.num_threads": 1}).open("first").answers
    kept = kept_table()
    judged = () if kept is None else verdicts(kept).itertuples()
    return ExplanationState(answers, {(row.input, row.measure): bool(row.passes) for row in judged})


def agrees(page, state):
    """The picture is the state's, as its words say. Of a map with two highest patches another process may name the
    other one."""
    title, rest = state.in_words().split(". ", 1)
    page.wait_for_selector(f"{CHOOSER} img:not(.stale)")
    start = f'start => document.querySelector("{CHOOSER} img").alt.startsWith(start)'
    page.wait_for_function(start, arg=f"{title}. ")
    said, expected = page.locator(f"{CHOOSER} img").get_attribute("alt").split(". ", 1)[1].split("; "), rest.split("; ")
    assert [each.split(": ")[0] for each in said] == [each.split(": ")[0] for each in expected]
    assert sum(one != other for one, other in zip(said, expected, strict=True)) <= 1, (said, expected)
    assert page.locator(f"{CHOOSER} .status").inner_text() == ""
    width = page.locator(f"{CHOOSER} img").evaluate("image => image.decode().then(() => image.naturalWidth)")
    assert width > 300


def change(page, state, key, how):
    control = page.locator(f"{CHOOSER} [data-control={key}]")
    if key == "number":
        to = state.choice.number + 1
        control.fill("3.7")
        control.press("Enter")
        assert control.get_attribute("aria-invalid") == "true"
        control.fill(str(to))
        control.press("Enter") if how == "keyboard" else page.locator(f"{CHOOSER} img").click()
        return to
    at, count = control.evaluate("list => [list.selectedIndex, list.options.length]")
    to = (at + 1) if at + 1 < count else at - 1
    if how == "mouse":
        control.select_option(index=to)
    else:
        control.focus()
        page.keyboard.press("ArrowDown" if to > at else "ArrowUp")
    return to


@pytest.mark.parametrize("how", ["mouse", "keyboard"])
@pytest.mark.parametrize("key", KEYS)
def test_a_control_does_what_the_state_does(page, state, key, how):
    agrees(page, state)
    options = {
        "method": list(state.answers.methods),
        "episode_type": list(state.answers.episode_types),
        "what": list(state.inputs),
    }
    to = change(page, state, key, how)
    state.choose(**{key: options[key][to] if key in options else to})
    agrees(page, state)
    if how == "keyboard":
        assert page.locator(f"{CHOOSER} [data-control={key}]").evaluate("one => one.matches(':focus')")


def test_no_control_is_left_out(page):
    names = page.eval_on_selector_all(CONTROLS, "all => all.map(one => one.getAttribute('data-control'))")
    assert names == list(KEYS)
    loud = "all => all.filter(one => !one.hasAttribute('data-lm-suppress-shortcuts')).length"
    assert page.eval_on_selector_all(CONTROLS, loud) == 0


def test_an_error_keeps_the_last_picture(page, state):
    page.locator(f"{CHOOSER} [data-control=number]").fill("99999999999999999999")
    page.keyboard.press("Enter")
    error = page.locator(f"{CHOOSER} .status.error")
    error.wait_for()
    assert "expected" in error.inner_text()
    assert page.locator(f"{CHOOSER} img").get_attribute("alt").startswith(state.title)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_for_those_who_read_otherwise(page, scheme):
    page.emulate_media(color_scheme=scheme)
    assert serious(Axe().run(page, context=CHOOSER)) == []
