"""How long the inspector lets one wait, how its clips keep step, and what it holds after 200 changes of episode.

On a run of `make suite` (`runs/suite`), served as a page by voila, in a real browser. A time is from the event to the
last clip's picture, measured in the page.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import papermill
import psutil
from measure import row
from playwright.sync_api import Page, sync_playwright

from tmal_core.suite.inspector_server import inspector_notebook, serving

RUN = Path(__file__).parents[2] / "runs" / "suite"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHANGES = 200
FIRST_PICTURE = """
import sys, time
from pathlib import Path
from tmal_core.viz.widgets.episode_inspector import EpisodeInspector
from tmal_core.viz.widgets.run_choice import RunChoice
start = time.perf_counter()
run = Path(sys.argv[1])
state = RunChoice(run.parent).open(run.name)
inspector = EpisodeInspector(state, run / "figures")
for row in (*state.question.support.ravel(), *state.question.query):
    inspector._sheet(int(row))
print(time.perf_counter() - start)
"""
WAITED = """async ([label, kind, value]) => {
    const root = document.querySelector('.tmal-inspector');
    const control = [...root.querySelectorAll('label')].find(l => l.querySelector('span').textContent === label)
        .querySelector('select, input');
    const before = root.querySelector('.episode');
    const start = performance.now();
    if (kind === 'option') control.selectedIndex = value;
    else if (kind === 'tick') control.checked = value;
    else control.value = value;
    control.dispatchEvent(new Event('change', {bubbles: true}));
    await new Promise(done => {
        const look = () => {
            const table = root.querySelector('.episode');
            const drawn = table !== before && [...table.querySelectorAll('canvas')].every(c => c.dataset.frame);
            if (drawn) done(); else requestAnimationFrame(look);
        };
        look();
    });
    return (performance.now() - start) / 1000;
}"""
IN_STEP = """async () => {
    document.querySelector('.tmal-inspector .play[aria-pressed="false"]')?.click();
    let worst = 0;
    const start = performance.now();
    while (performance.now() - start < 10000) {
        await new Promise(requestAnimationFrame);
        const clips = [...document.querySelectorAll('.tmal-inspector .episode canvas')];
        const frames = clips.map(clip => Number(clip.dataset.frame));
        worst = Math.max(worst, Math.max(...frames) - Math.min(...frames));
    }
    return worst;
}"""


def rows() -> Iterator[dict]:
    """Times, step and memory."""
    if CHROMIUM is None or not (RUN / "run.json").is_file():
        raise SystemExit(f"expected chromium and a run of `make suite` in {RUN}")
    first = subprocess.check_output(
        [sys.executable, "-c", FIRST_PICTURE, str(RUN)], text=True, stderr=subprocess.DEVNULL
    )
    yield row("inspector: from banks on disk to the first picture", float(first), "s", "<=", 2.0)
    with TemporaryDirectory() as folder:
        start = time.perf_counter()
        papermill.execute_notebook(inspector_notebook(RUN), f"{folder}/07.ipynb", progress_bar=False)
        yield row("notebook 7, all cells, banks on disk", time.perf_counter() - start, "s", "<=", 10.0)
    with serving(RUN) as served, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--enable-precise-memory-info"]
        )
        page = browser.new_page(viewport={"width": 1440, "height": 1100})
        page.goto(served.link, wait_until="commit")
        # The map of features is the last thing on the page: the kernel is free then.
        page.wait_for_selector(".tmal-features .cell", state="attached", timeout=300_000)
        yield from _times(page)
        yield row("clips, farthest apart over 10 s", page.evaluate(IN_STEP), "frames", "<=", 1.0)
        yield from _memory(page, psutil.Process(served.process.pid))
        browser.close()


def _times(page: Page) -> Iterator[dict]:
    asked = {
        "another episode, new clips": [("episode", "number", str(n)) for n in range(10, 15)],
        "another episode, clips decoded": [("episode", "number", str(n)) for n in range(10, 15)],
        "another method, clips decoded": [("method", "option", n) for n in (1, 2, 0, 1, 2)],
        "what if: another matcher": [("matcher", "option", n) for n in (1, 2, 0, 1, 0)],
        "what if: without flow, through the model": [("flow", "tick", n % 2 == 1) for n in range(4)],
        "what if: reversed, through the model": [("the queries' frames", "option", n) for n in (1, 0, 1, 0)],
    }
    limits = {"new clips": 0.5, "through the model": 1.0}
    page.evaluate(WAITED, ["method", "option", 2])
    for name, uses in asked.items():
        waited = sorted(page.evaluate(WAITED, list(use)) for use in uses)
        limit = next((limit for end, limit in limits.items() if name.endswith(end)), 0.3)
        yield row(f"inspector: {name}, the slowest of {len(uses)}", waited[-1], "s", "<=", limit)


def _memory(page: Page, server: psutil.Process) -> Iterator[dict]:
    (kernel,) = (one for one in server.children(recursive=True) if "ipykernel" in " ".join(one.cmdline()))
    session = page.context.new_cdp_session(page)
    held = {}
    for number in range(1, CHANGES + 1):
        page.evaluate(WAITED, ["episode", "number", str(100 + number)])
        if number in (20, 100, CHANGES):
            session.send("HeapProfiler.collectGarbage")
            held[number] = kernel.memory_info().rss, page.evaluate("performance.memory.usedJSHeapSize"), _largest_page()
    for at, what, start in ((0, "kernel", 20), (1, "script heap", 20), (2, "page's process", 100)):
        grown = 100.0 * (held[CHANGES][at] / held[start][at] - 1.0)
        size = held[CHANGES][at] / 2**20
        yield row(
            f"{what}, grown between episode changes {start} and {CHANGES} (to {size:.0f} MiB)", grown, "%", "<=", 5.0
        )


def _largest_page() -> int:
    """Resident bytes of the largest of chromium's renderers."""
    return max(
        one.memory_info().rss
        for one in psutil.Process().children(recursive=True)
        if "--type=renderer" in " ".join(one.cmdline())
    )
