"""Notebook 7 in JupyterLab: every control by mouse and keyboard, against the numbers of the state."""

from __future__ import annotations

import json

import pytest

from tmal_core.viz.widgets.run_choice import RunChoice

KEYS = ("a", "b", "m", "r", "x", "d", "d", "ArrowUp", "ArrowDown", "Home", "Enter")
"""What JupyterLab takes for a cell where the focus is on none of ours."""
CELLS = """[...document.querySelectorAll('.jp-Notebook .jp-Cell')].map(
    cell => cell.className.match(/jp-(Code|Markdown|Raw)Cell/)[0])"""
DISTANCES = """expected => JSON.stringify(
    [...document.querySelectorAll('.tmal-inspector .distance')].map(cell => cell.innerText)) === expected"""
ONE_OF_EACH_KIND = """() => {
    const seen = {};
    document.querySelectorAll('.tmal-inspector :is(select, input, button, summary)').forEach((control, number) => {
        const kind = control.tagName + (control.type || '') + control.className;
        if (!control.disabled && !(kind in seen)) seen[kind] = number;
    });
    return Object.values(seen);
}"""


@pytest.fixture
def inspector(lab, opened):
    """Notebook 7 with all cells run."""
    page = opened(f"{lab}/lab/tree/07_episode_inspection.ipynb?token=only-for-this-test&reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.wait_for_selector(".tmal-inspector .episode", timeout=180_000, state="attached")
    page.locator(".tmal-inspector").scroll_into_view_if_needed()
    return page


@pytest.fixture(scope="module")
def state(smoke_run):
    return RunChoice(smoke_run.parent, overrides={"compute.num_threads": 1}).open(smoke_run.name)


def shows(page, state):
    """Wait until the page shows the state's distances."""
    expected = [f"{value:.3f}" for value in state.before.result.distances.ravel()]
    page.wait_for_function(DISTANCES, arg=json.dumps(expected, separators=(",", ":")), timeout=20_000)


def test_controls_ask_the_state(inspector, state):
    page = inspector
    state.choose(episode_type="mixed")
    shows(page, state)
    page.get_by_label("episode type").select_option("order")
    state.choose(episode_type="order")
    shows(page, state)
    page.get_by_label("method", exact=True).select_option(label="TMAL")
    state.choose(method="tmal")
    shows(page, state)
    page.locator("label", has_text="episode").locator("input").last.fill("3")
    page.keyboard.press("Enter")
    state.choose(number=3)
    shows(page, state)
    page.get_by_label("flow", exact=True).uncheck()
    state.suppose(flow=False)
    after = [f"{value:.3f}" for value in state.after.result.distances.ravel()]
    page.wait_for_function("n => document.querySelectorAll('.tmal-inspector td > small').length === n", arg=len(after))
    assert page.locator(".tmal-inspector td > small").all_inner_texts() == after


def test_no_key_on_a_control_reaches_the_notebook(inspector):
    page, before = inspector, inspector.evaluate(CELLS)
    count = page.locator(".tmal-inspector").locator("select, input, button, summary, [tabindex='0']").count()
    marked = page.locator(".tmal-inspector").locator("[data-lm-suppress-shortcuts]").count()
    assert count > 30 and marked >= count
    kinds = page.evaluate(ONE_OF_EACH_KIND)
    for number in kinds:
        control = page.locator(".tmal-inspector :is(select, input, button, summary)").nth(number)
        for key in KEYS:
            if control.is_visible() and control.is_enabled():
                control.focus()
                page.keyboard.press(key)
        assert page.evaluate(CELLS) == before, f"control {number}"
    assert page.locator(".tmal-inspector .episode").count() == 1
