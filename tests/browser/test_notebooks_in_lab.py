"""Every notebook opens in JupyterLab and runs on the smoke preset; keys on the inspector leave the notebook alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser_pages import ERRORS, run_all_cells

NOTEBOOKS = [path.stem for path in sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))]
KEYS = ("a", "b", "m", "r", "x", "d", "d", "ArrowUp", "ArrowDown", "Home", "Enter")
"""What JupyterLab takes for a cell where the focus is on none of ours."""
CELLS = """() => [...document.querySelectorAll('.jp-Notebook .jp-Cell')].map(
    cell => cell.className.match(/jp-(Code|Markdown|Raw)Cell/)[0])"""
PROMPTS = "() => [...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')].map(prompt => prompt.innerText)"
DONE = f"() => ({PROMPTS})().every(prompt => /\\[\\d+\\]:/.test(prompt))"
ONE_OF_EACH_KIND = """() => {
    const seen = {};
    document.querySelectorAll('.tmal-inspector :is(select, input, button, summary)').forEach((control, number) => {
        const kind = control.tagName + (control.type || '') + control.className;
        if (!control.disabled && control.offsetParent && !(kind in seen)) seen[kind] = number;
    });
    return Object.values(seen);
}"""


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_without_an_error(lab, opened, name):
    page = opened(lab.format(name))
    run_all_cells(page)
    page.wait_for_function(f"() => ({DONE})() || ({ERRORS})().length", timeout=600_000)
    assert page.evaluate(ERRORS) == []


def test_an_error_in_a_cell_is_seen(lab, opened):
    page = opened(lab.format("wrong_settings"))
    run_all_cells(page)
    page.wait_for_function(f"() => ({ERRORS})().length")
    assert "SettingsError" in page.evaluate(ERRORS)[0] and not page.evaluate(DONE)


def test_no_key_on_a_control_reaches_the_notebook(lab, opened):
    page = opened(lab.format("07_episode_inspection"))
    run_all_cells(page)
    page.wait_for_selector(".tmal-inspector .episode", timeout=300_000, state="attached")
    page.wait_for_function(DONE)
    before = page.evaluate(CELLS)
    assert len(before) > 15
    controls = page.locator(".tmal-inspector :is(select, input, button, summary)")
    assert (
        page.locator(
            ".tmal-inspector :is(select, input, button, summary, [tabindex='0']):not([data-lm-suppress-shortcuts])"
        ).count()
        == 0
    )
    for number in page.evaluate(ONE_OF_EACH_KIND):
        for key in KEYS:
            control = controls.nth(number)
            if control.is_visible() and control.is_enabled():
                control.focus()
                page.keyboard.press(key)
        assert page.evaluate(CELLS) == before, f"control {number}"
    assert page.locator(".tmal-inspector .episode").count() == 1
