"""Training that is started in a notebook: the page may be loaded anew and the kernel started anew, and an interrupt
reaches it."""

from __future__ import annotations

import json
import re

import pytest
from browser_pages import ERRORS, run_all_cells

from tmal_core.runtime.held_work import Process

LINE = re.compile(r"episode \d+ of 1,200, .* per second")


def trains(run):
    """Who trains, and how it stands."""
    return json.loads((run / "processes" / "train-st_adapter.json").read_text())


@pytest.fixture
def run(runs):
    """Nothing trains in it any more once the test is over, however it went."""
    run = runs / "long"
    yield run
    Process(**trains(run)["process"]).interrupt()


def test_a_reload_leaves_training_alone_and_a_new_kernel_goes_on_where_it_stood(lab, run, browser):
    page = browser.new_page()  # not watched: JupyterLab itself logs errors when a kernel is started anew
    page.set_default_timeout(120_000)
    page.goto(lab.format("long_training"))
    run_all_cells(page)
    page.get_by_text(LINE).first.wait_for()
    first = trains(run)["process"]
    page.reload()
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_timeout(2000)
    assert trains(run)["process"] == first and trains(run)["state"] == "running"

    # JupyterLab interrupts a kernel before it starts it anew: training saves and ends, and is begun again by the cell.
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_text("Restart Kernel and Run All Cells").click()
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    page.get_by_text(LINE).first.wait_for()
    stood = [json.loads(line)["episode"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert stood == sorted(stood) and trains(run)["process"] != first

    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_text("Interrupt Kernel", exact=True).click()
    page.wait_for_function(f"() => ({ERRORS})().length")
    assert "KeyboardInterrupt" in page.evaluate(ERRORS)[0]
    assert trains(run)["state"] == "interrupted" and Process(**trains(run)["process"]).is_gone
    assert (run / "checkpoints" / "st_adapter" / "last.pt").is_file()
    page.context.close()
