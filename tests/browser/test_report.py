"""The report, opened from disk with the network off: every control, both schemes, three widths, and paper."""

from __future__ import annotations

import json

import pytest
from axe_playwright_python.sync_playwright import Axe

from tmal_core.runtime.run_folders import Run
from tmal_core.suite.notebook_runs import LEDGER
from tmal_core.suite.report import write_report
from tmal_core.suite.report_tables import read_table

BAR_MB, BAR_MS = 15, 1000
CONTROLS = "a[href], button, input, select, textarea, summary, [tabindex], [contenteditable], audio, video, iframe"
KINDS = {
    "skip": "a.skip",
    "contents": ".contents a",
    "sort": ".sorts th > button",
    "region": ".scroll[role=region][tabindex='0'][aria-label]",
    "mark": ".plot .mark",
    "details": "summary",
    "play": ".player > button",
    "speed": ".player select",
    "code": "input#show-code",
    "file": ".notebook .note > a",
    "again": ".inside .note > a[href^='#picture-']",
    "written": ".inside .text a",
}
"""Every control of the page is one of these; `test_...` below uses each kind, and all of its members."""
OPEN = "document.querySelectorAll('details').forEach(one => { one.open = true; })"


@pytest.fixture(scope="module")
def report(smoke_run, tmp_path_factory):
    """The smoke run's report, made anew: it must be of this code."""
    executed = json.loads((smoke_run / "notebooks" / LEDGER).read_text())
    copies = {smoke_run / "notebooks" / f"{name}.ipynb": entry["seconds"] for name, entry in executed.items()}
    return write_report(smoke_run, Run.open(smoke_run).settings, copies)


@pytest.fixture
def page(report, opened):
    return opened(report.as_uri(), offline=True)


def kinds_of(page):
    """Kind -> how many; a control of no kind, or of two, fails."""
    found = page.evaluate(
        """([all, kinds]) => [...document.querySelectorAll(all)].map(one =>
            [Object.keys(kinds).filter(kind => one.matches(kinds[kind])), one.outerHTML.slice(0, 120)])""",
        [CONTROLS, KINDS],
    )
    unknown = [markup for names, markup in found if len(names) != 1]
    assert unknown == [], "controls that no test uses"
    return {kind: sum(names == [kind] for names, _ in found) for kind in KINDS}


def test_every_control_is_of_a_kind_that_a_test_uses(page):
    page.evaluate(OPEN)
    found = kinds_of(page)
    needed = {"skip", "contents", "sort", "region", "mark", "details", "play", "speed", "code", "file"}
    assert {kind for kind, count in found.items() if count} >= needed
    assert found["mark"] > 50 and found["sort"] > 50 and found["file"] == 7
    page.evaluate("document.body.append(document.createElement('button'))")
    with pytest.raises(AssertionError, match="controls that no test uses"):
        kinds_of(page)


def test_size_paint_and_no_request(report, opened):
    assert report.stat().st_size < BAR_MB * 1e6
    asked = []
    page = opened("about:blank", offline=True)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    page.wait_for_function("performance.getEntriesByType('paint').length > 0")
    assert page.evaluate("Math.max(...performance.getEntriesByType('paint').map(e => e.startTime))") < BAR_MS
    page.evaluate(OPEN)
    page.wait_for_timeout(500)
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]


def test_no_id_twice_and_no_picture_twice(page):
    ids, sources = page.evaluate(
        "[[...document.querySelectorAll('[id]')].map(e => e.id), [...document.images].map(e => e.src)]"
    )
    assert len(set(ids)) == len(ids)
    assert len(set(sources)) == len(sources) > 10
    alts = page.evaluate("[...document.images].map(e => e.alt)")
    assert all(len(alt) > 20 and ".png" not in alt for alt in alts)


@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_nothing_is_wider_than_the_window(report, opened, width):
    page = opened(report.as_uri(), width=width, offline=True)
    page.evaluate(OPEN)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = """[...document.querySelectorAll('main *')].filter(e => {
        const style = getComputedStyle(e);
        return e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0
            && ['auto', 'scroll'].includes(style.overflowX) && !e.matches('.scroll[tabindex="0"]');
    }).map(e => e.outerHTML.slice(0, 120))"""
    assert page.evaluate(wide) == [], "regions that scroll and that a keyboard does not reach"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_serious_for_those_who_read_otherwise(report, opened, scheme, width):
    page = opened(report.as_uri(), width=width, offline=True, color_scheme=scheme)
    page.evaluate(OPEN)
    page.evaluate("document.getElementById('show-code').click()")
    page.wait_for_timeout(300)
    found = Axe().run(page).response["violations"]
    serious = [f"{v['id']}: {v['nodes'][0]['html'][:160]}" for v in found if v["impact"] in ("serious", "critical")]
    assert serious == []


def test_marks_say_the_tables_values_to_mouse_and_keyboard(page, smoke_run):
    table = read_table(smoke_run / "tables" / "results.csv")
    tip, plots = page.locator("#tip"), page.locator("#found ~ .chart .plot")
    assert plots.count() == table["episode_type"].nunique()
    for at, (name, rows) in enumerate(table.groupby("episode_type", sort=False)):
        marks = plots.nth(at).locator(".mark")
        said = [f"{r.title}, {name}: {r.accuracy_pct:.1f} %" for r in rows.itertuples()]
        assert marks.count() == len(said)
        for mark, text in zip(marks.all(), said, strict=True):
            mark.locator(".hit").hover(force=True)
            assert tip.inner_text().startswith(text) and tip.inner_text().endswith("episodes")
    page.mouse.move(2, 2)
    assert tip.is_hidden()


def test_one_tab_stop_a_chart_and_arrows_within(page):
    page.evaluate(OPEN)
    for plot in page.locator(".plot").all():
        marks = plot.locator(".mark")
        count = marks.count()
        assert plot.locator(".mark[tabindex='0']").count() == 1
        marks.first.focus()
        for number in range(count):
            at = page.evaluate("document.activeElement.getAttribute('aria-label')")
            assert at == marks.nth(number).get_attribute("aria-label") == page.locator("#tip").inner_text()
            page.keyboard.press("ArrowRight")
        page.keyboard.press("Home")
        assert page.evaluate("document.activeElement.getAttribute('tabindex')") == "0"
        page.keyboard.press("Escape")
        assert page.locator("#tip").is_hidden()
    assert page.locator(".mark[tabindex='0']").count() == page.locator(".plot").count()


def test_every_heading_sorts_both_ways(page):
    page.evaluate(OPEN)
    for table in page.locator(".sorts").all():
        for column, button in enumerate(table.locator("th > button").all()):
            for way in ("ascending", "descending"):
                button.click()
                head = table.locator("th").nth(column)
                assert head.get_attribute("aria-sort") == way
                assert table.locator("th[aria-sort]").count() == 1
                keys = table.evaluate(
                    "(t, c) => [...t.tBodies[0].rows].map(r => r.cells[c].dataset.key ?? r.cells[c].textContent)",
                    column,
                )
                full = [key for key in keys if key]
                assert keys == full + [""] * (len(keys) - len(full)), "empty cells come last"
                if "number" in (head.get_attribute("class") or ""):
                    numbers = [float(key) for key in full]
                    assert numbers == sorted(numbers, reverse=way == "descending")
                else:
                    in_order = page.evaluate(
                        "k => k.every((x, i) => i === 0 || k[i - 1].localeCompare(x, 'en') <= 0)",
                        full if way == "ascending" else full[::-1],
                    )
                    assert in_order
    page.locator(".sorts th > button").first.focus()
    page.keyboard.press("Enter")
    assert page.locator(".sorts th").first.get_attribute("aria-sort") == "ascending"


def test_links_lead_somewhere_and_details_open(page, smoke_run):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#found"
    for link in page.locator(".contents a").all():
        link.click()
        target = page.locator(link.get_attribute("href"))
        assert target.count() == 1
        assert target.evaluate("e => e.getBoundingClientRect().top < innerHeight")
    for summary in page.locator("summary").all():
        was = summary.evaluate("e => e.parentElement.open")
        assert not was
        summary.focus()
        page.keyboard.press("Enter")
        assert summary.evaluate("e => e.parentElement.open")
    for link in page.locator(KINDS["file"]).all():
        assert (smoke_run / link.get_attribute("href")).is_file()
    for link in page.locator(KINDS["again"]).all():
        assert page.locator(link.get_attribute("href")).count() == 1
    for link in page.locator(KINDS["written"]).all():
        assert link.get_attribute("href").startswith("https://"), "a link of a notebook to something that is not here"


def test_regions_scroll_by_keyboard(report, opened):
    page = opened(report.as_uri(), width=390, offline=True)
    page.evaluate(OPEN)
    moved = 0
    for region in page.locator(".scroll").all():
        if region.evaluate("e => e.scrollWidth > e.clientWidth + 1"):
            region.focus()
            page.keyboard.press("ArrowRight")
            page.wait_for_function("e => e.scrollLeft > 0", arg=region.element_handle())
            moved += 1
    assert moved > 5


def test_code_is_shown_when_asked(page):
    page.evaluate(OPEN)
    code = page.locator("pre.code").first
    assert code.is_hidden()
    page.get_by_label("show code").check()
    assert code.is_visible()
    page.get_by_label("show code").press("Space")
    assert code.is_hidden()


FRAMES = "[...document.querySelectorAll('.trio canvas')].map(c => Number(c.dataset.frame))"


def test_clips_play_pause_and_change_their_speed(page):
    shown = page.locator(".trio figure").count()
    assert shown >= 6
    page.locator(".examples").first.scroll_into_view_if_needed()
    page.wait_for_function(f"document.querySelectorAll('canvas[data-frame]').length === {shown}")
    before = page.evaluate(FRAMES)
    page.wait_for_function(f"({FRAMES})[0] !== {before[0]}")
    page.get_by_role("button", name="pause").click()
    stopped = page.evaluate(FRAMES)
    page.wait_for_timeout(400)
    assert page.evaluate(FRAMES) == stopped
    page.locator(KINDS["speed"]).select_option(label="0.25 times")
    page.get_by_role("button", name="play", exact=True).click()
    page.wait_for_function(f"({FRAMES})[0] !== {stopped[0]}")
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(1000)
    unseen = page.evaluate(FRAMES)
    page.wait_for_timeout(400)
    assert page.evaluate(FRAMES) == unseen, "clips that nobody sees are drawn"


def test_clips_stand_still_for_those_who_want_it(report, opened):
    page = opened(report.as_uri(), offline=True, reduced_motion="reduce")
    page.locator(".examples").first.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelectorAll('canvas[data-frame]').length >= 6")
    page.wait_for_timeout(400)
    assert set(page.evaluate(FRAMES)) == {0}
    page.get_by_role("button", name="play", exact=True).press("Enter")
    page.wait_for_function(f"({FRAMES})[0] > 0")


def test_paper_has_everything_open(page):
    page.evaluate(
        """() => {
            addEventListener("beforeprint", () => { window.shut = document.querySelector("details:not([open])"); });
            addEventListener("afterprint", () => { window.printed = true; });
        }"""
    )
    assert page.locator("details:not([open])").count() > 7
    shut = page.locator("details:not([open])").count()
    page.pdf()
    assert page.evaluate("window.shut === null") and page.evaluate("window.printed")
    assert page.locator("details:not([open])").count() == shut
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
