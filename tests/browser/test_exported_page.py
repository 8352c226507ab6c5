"""The inspector's exported file, opened from disk with the network off."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser_pages import serious

from tmal_core.viz.widgets.inspector_export import save_page
from tmal_core.viz.widgets.run_choice import RunChoice


@pytest.fixture(scope="module")
def state(smoke_run):
    state = RunChoice(smoke_run.parent, overrides={"compute.num_threads": 1}).open(smoke_run.name)
    state.choose(method="tmal", episode_type="order")
    state.suppose(order="reversed")
    return state


@pytest.fixture(scope="module")
def exported(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    save_page(state, path)
    return path.as_uri()


def test_it_shows_the_state_s_numbers(state, exported, opened):
    page = opened(exported, offline=True)
    shown = page.locator(".distance").all_inner_texts()
    assert shown == [f"{value:.3f}" for value in state.before.result.distances.ravel()]
    after = page.locator("td > small").all_inner_texts()
    assert after == [f"{value:.3f}" for value in state.after.result.distances.ravel()]
    texts = page.locator(".verdict").all_inner_texts()
    assert all(f"p = {p.max():.2f}" in text for p, text in zip(state.before.result.probabilities, texts, strict=True))


def test_clips_play_in_step_stop_and_step_by_frames(exported, opened):
    page = opened(exported, offline=True)
    page.wait_for_function("document.querySelectorAll('canvas[data-frame]').length >= 6")
    frames = "[...document.querySelectorAll('.episode canvas')].map(c => Number(c.dataset.frame))"
    for _ in range(5):
        assert len(set(page.evaluate(frames))) == 1  # all clips of this family are equally long
        page.wait_for_timeout(200)
    page.get_by_role("button", name="pause").click()
    before = page.evaluate(frames)[0]
    page.get_by_role("button", name="frame ▸").click()
    page.wait_for_function(f"{frames}[0] === {(before + 1) % 48}")
    page.locator(".tmal-inspector").press(",")
    page.wait_for_function(f"{frames}[0] === {before}")


def test_a_pair_of_frames_is_shown_large(exported, opened):
    page = opened(exported, offline=True)
    page.locator(".pair").nth(9).click()
    page.wait_for_function(
        "[...document.querySelectorAll('.two-frames img')].filter(i => i.naturalWidth > 0).length === 2"
    )
    assert page.locator(".pair.chosen").count() >= 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_serious_for_those_who_read_otherwise(exported, opened, scheme, width):
    page = opened(exported, width=width, offline=True, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.wait_for_timeout(500)
    assert serious(Axe().run(page)) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
