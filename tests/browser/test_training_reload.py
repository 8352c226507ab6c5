"""Training that is started in a notebook goes on while the page is loaded anew and while the kernel is started anew; an
interrupt of the kernel reaches it."""

from __future__ import annotations

import json
import re

from browser_pages import run_all_cells

FAILED = ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']"
LINE = re.compile(r"episode \d+ of 1,200, .* per second")


def trains(run):
    """Who trains, and how it stands."""
    return json.loads((run / "processes" / "train-st_adapter.json").read_text())


def test_pages_and_kernels_come_and_go_and_training_stays(lab, runs, opened):
    page, run = opened(lab.format("long_training")), runs / "long"
    run_all_cells(page)
    page.get_by_text(LINE).first.wait_for()
    first = trains(run)["process"]
    page.reload()
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_text("Restart Kernel and Run All Cells").click()
    page.get_by_role("button", name="Restart").click()
    page.get_by_text(LINE).first.wait_for()
    assert trains(run)["process"] == first and trains(run)["state"] == "running", "a second training was started"
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_text("Interrupt Kernel", exact=True).click()
    page.wait_for_selector(FAILED)
    assert "KeyboardInterrupt" in page.locator(FAILED).first.inner_text()
    assert trains(run)["state"] == "interrupted"
    assert (run / "checkpoints" / "st_adapter" / "last.pt").is_file()
