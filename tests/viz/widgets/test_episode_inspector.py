"""The inspector without a browser: what it shows, what it says, and that it decodes a clip only once."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from ipywidgets import BoundedIntText, Box, Button, Dropdown, ToggleButtons
from ipywidgets.embed import embed_data

from tmal_core.data.clips import ClipReader
from tmal_core.data.episodes import EpisodeSampler, episode_types
from tmal_core.data.sets.catalog import Catalog
from tmal_core.errors import EpisodeError
from tmal_core.evaluation.feature_bank import Bank
from tmal_core.viz.widgets import episode_inspector
from tmal_core.viz.widgets.episode_inspector import MODEL, QUIET, ROOT, EpisodeInspector

SEED = 3


def _bank(tokens):
    return Bank(tokens, tokens, key="")


@pytest.fixture
def inspector(start, reader, model, perfect):
    banks = {"otam": perfect, "protonet": _bank(perfect.query.flip(0))}
    return EpisodeInspector(reader, start, {"otam": model, "protonet": model}, banks, seed=SEED)


def pictures(page):
    return re.findall(r'<img src="data:image/webp;base64,([^"]+)"', page)


def test_the_first_episode_is_there_at_once(inspector, catalog):
    sampler = EpisodeSampler(catalog, episode_types(catalog)[0], 3, 1, 1, SEED)
    episode = sampler[0]
    assert inspector.result.question.classes == episode.classes
    assert np.array_equal(inspector.result.question.query, episode.query.ravel())
    assert inspector.message == "3 of 3 right, chance is 33 %."
    assert len(pictures(inspector.page)) == 6 and inspector.page.count("✓") == 3 and "✗" not in inspector.page
    shown = re.findall(r'<td class="distance[^>]*>([^<]+)<', inspector.page)
    assert shown == [f"{value:.3f}" for value in inspector.result.distances.flat]


def test_each_control_changes_what_is_asked(inspector, catalog):
    before = inspector.page
    inspector.controls["episode"].value = 1
    assert inspector.page != before
    inspector.controls["seed"].value = 5
    inspector.controls["shot"].value = 2
    inspector.controls["way"].value = 2
    expected = EpisodeSampler(catalog, episode_types(catalog)[0], 2, 2, 1, 5)[1]
    assert np.array_equal(inspector.result.question.support, expected.support)
    assert inspector.result.distances.shape == (2, 4) and len(pictures(inspector.page)) == 6


def test_all_shots_of_the_answered_class_are_marked(inspector):
    inspector.controls["shot"].value = 2
    marks = ["chosen" in cell for cell in re.findall(r'<td class="(distance[^"]*)"', inspector.page)]
    expected = np.arange(3)[None, :].repeat(2, axis=1) == inspector.result.predicted[:, None]
    assert np.array_equal(np.reshape(marks, (3, 6)), expected)


def test_another_method_answers_from_its_own_bank(start, reader, model, perfect):
    # Features of another clip's class for every video but the first of each class: mistakes must show.
    wrong = perfect.query.roll(1, dims=2)
    wrong[::4] = perfect.query[::4]
    inspector = EpisodeInspector(
        reader, start, {"otam": model, "protonet": model}, {"otam": perfect, "protonet": _bank(wrong)}
    )
    inspector.controls["method"].value = "protonet"
    inspector.next_mistake()
    assert not inspector.result.correct.all() and "✗" in inspector.page
    number = inspector.controls["episode"].value
    inspector.controls["method"].value = "otam"
    assert inspector.controls["episode"].value == number and inspector.result.correct.all()


def test_no_mistake_is_said_and_leaves_the_episode(inspector, monkeypatch):
    monkeypatch.setattr(episode_inspector, "SEARCHED", 5)
    inspector.next_mistake()
    assert inspector.message == "No mistake in episodes 1 to 5." and inspector.controls["episode"].value == 0


def test_a_way_larger_than_the_split_is_one_line_and_no_more(inspector):
    inspector.controls["way"].value = 7
    assert "expected a way of at most 3, got 7-way episodes of" in inspector.message and "\n" not in inspector.message
    assert inspector.result is None and inspector.page == ""
    inspector.next_mistake()  # nothing to search in
    inspector.controls["way"].value = 2
    assert inspector.result is not None and "expected" not in inspector.message


def test_a_broken_video_is_one_line(inspector, catalog):
    file = catalog.file(int(inspector.result.question.query[0]))
    content = file.read_bytes()
    try:
        file.write_bytes(b"no video")
        inspector.controls["show"].value = MODEL
        assert inspector.result is None and file.name in inspector.message
    finally:
        file.write_bytes(content)
    inspector.controls["episode"].value += 1
    inspector.controls["episode"].value -= 1
    assert inspector.result is not None


def test_clips_are_decoded_once(inspector, monkeypatch):
    decoded = []
    original = inspector._reader.frames
    monkeypatch.setattr(inspector._reader, "frames", lambda row, p: decoded.append(row) or original(row, p))
    for number in (1, 2, 3, 1, 2, 3, 0):
        inspector.controls["episode"].value = number
    assert decoded and len(decoded) == len(set(decoded))


def test_the_cache_is_bounded(start, reader, model, perfect, monkeypatch):
    monkeypatch.setattr(episode_inspector, "MAX_PICTURES", 7)
    small = EpisodeInspector(reader, start, {"otam": model}, {"otam": perfect}, seed=SEED)
    for number in range(1, 6):
        small.controls["episode"].value = number
    assert small._picture.cache_info().currsize <= 7 and "data:image/webp" in small.page


def test_names_are_text_not_markup(inspector):
    assert "<b>blue</b>" not in inspector.page and "&lt;b&gt;blue&lt;/b&gt;" in inspector.page


def test_grouped_episode_types_say_that_they_ask_less(start, reader, model, perfect):
    table = reader.catalog.table.assign(group="colours")
    in_groups = ClipReader(Catalog(reader.catalog.root, table), reader.sampling)
    grouped = EpisodeInspector(in_groups, start, {"otam": model}, {"otam": perfect})
    assert "(classes of a group, so 2-way)" in grouped.message and grouped.result.distances.shape == (2, 2)


def test_of_several_views_the_first_is_shown(inspector, start, reader, model, perfect):
    both = torch.cat([perfect.query, perfect.query.flip(0)])
    viewed = {"otam": Bank(both, both, key="", views=2)}
    shown = EpisodeInspector(reader, start, {"otam": model}, viewed, seed=SEED)
    assert np.array_equal(shown.result.distances, inspector.result.distances)


def test_keys_on_a_control_stay_out_of_the_notebook(inspector):
    """In a browser the style sheet's handler marks every node of these tags below the inspector's own."""
    nodes = {Dropdown: "select", BoundedIntText: "input", ToggleButtons: "button", Button: "button"}
    parts = [inspector]
    for part in parts:
        parts.extend(part.children if isinstance(part, Box) else [])
    with_focus = [part for part in parts if hasattr(part, "disabled")]
    assert set(inspector.controls.values()) < set(with_focus)
    marked = re.search(r"querySelectorAll\('(.*?)'\)", QUIET)[1].split(", ")
    assert {nodes[type(part)] for part in with_focus} == set(marked)
    assert QUIET.count("data-lm-suppress-shortcuts") == QUIET.count(f"closest('.{ROOT}')") == 1
    assert ROOT in inspector._dom_classes and QUIET in [getattr(part, "value", "") for part in parts]


def test_its_state_can_be_stored_in_a_notebook(inspector):
    state = embed_data(views=[inspector])["manager_state"]["state"]
    assert inspector.page in [model["state"].get("value") for model in json.loads(json.dumps(state)).values()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": {}, "banks": {}}, "expected a bank for each of at least one model"),
        ({"banks": {"other": _bank(torch.zeros(12, 8, 3))}}, r"got models \['otam'\] and banks \['other'\]"),
        (
            {"banks": {"otam": _bank(torch.zeros(5, 8, 3))}},
            r"expected a bank of the split's 12 videos, got 5 for 'otam'",
        ),
        ({"episode_type": "order"}, "expected an episode type among colours, got 'order'"),
    ],
)
def test_wrong_parts_are_refused(start, reader, model, perfect, change, message):
    parts = {"models": {"otam": model}, "banks": {"otam": perfect}, **change}
    with pytest.raises(EpisodeError, match=message):
        EpisodeInspector(reader, start, **parts)
