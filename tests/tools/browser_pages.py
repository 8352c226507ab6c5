"""Pages in a real browser: watched for errors and for requests to other machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page
from playwright.sync_api import TimeoutError as TooLate

ERRORS = """() => [...document.querySelectorAll(
    ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']")].map(output => output.innerText)
    .filter(text => text.includes("Traceback (most recent call last)"))"""
"""What cells of a notebook in JupyterLab have raised."""
STARTED = """() => [...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')].some(
    prompt => /\\[(\\*|\\d+)\\]/.test(prompt.innerText))"""
"""Whether a cell waits, runs or has run."""


@contextmanager
def watched_pages(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages whose errors, and whose requests to anywhere but this machine, fail the test at its end."""
    contexts, faults = [], []

    def asked(request):
        if not request.url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "file:", "data:", "blob:", "about:")):
            faults.append(f"a request to {request.url}")

    def open_page(url: str, width: int = 1440, height: int = 1100, **options) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)  # a busy machine takes its time
        page.on("pageerror", lambda error: faults.append(f"an error in the page: {error}"))
        page.on("console", lambda said: faults.append(f"in the console: {said.text}") if said.type == "error" else None)
        page.on("request", asked)
        # Not for voila: its page loads as long as it computes.
        page.goto(url, wait_until="load" if url.startswith("file:") else "commit")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not faults, faults


def serious(found: Any) -> list[str]:
    """What axe says is serious or worse, one line each."""
    violations = [one for one in found.response["violations"] if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}: {one['nodes'][0]['html'][:160]}" for one in violations]


def run_all_cells(page: Page) -> None:
    """In JupyterLab; a notebook whose kernel is still starting does so when it is there. A page that still sets itself
    up may lose the command, so it is given again until a cell runs."""
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    for last in (False, False, True):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        try:
            page.wait_for_function(STARTED, timeout=30_000)
        except TooLate:
            if last:
                raise
        else:
            return
