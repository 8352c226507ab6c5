"""Figures of attention and alignment: what is drawn in them, read back from the artists and from pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tmal_core.errors import DataError
from tmal_core.viz.attention_plots import AlignedPair, alignments, attention_shifts, attention_strip
from tmal_core.viz.style import save_figure


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 255, (3, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def pair(frames):
    query = torch.eye(3)
    return AlignedPair.of("own class", (frames, frames), (query, query), smoothing=0.1)


def pictures(figure):
    return [axes.images for axes in figure.axes if axes.images]


def test_attention_strip_shows_each_map_over_its_frame_as_multiples_of_uniform(frames):
    maps = np.full((3, 2, 2), 0.25)
    maps[1] = [[1, 0], [0, 0]]
    figure = attention_strip(frames, {"first": maps, "second": np.full((3, 2, 2), 0.25)}, "a title")
    shown = pictures(figure)
    assert len(shown) == 9 and figure.get_suptitle() == "a title"
    assert all(np.array_equal(cell[0].get_array(), frames[t]) for t, cell in enumerate(shown[:3]))
    assert np.array_equal(shown[4][1].get_array(), [[4, 0], [0, 0]]) and (shown[8][1].get_array() == 1).all()
    assert {tuple(cell[1].get_clim()) for cell in shown[3:]} == {(0.0, 4.0)}
    assert shown[4][1].get_extent() == [-0.5, 7.5, 7.5, -0.5]


def test_attention_strip_wants_a_map_per_frame(frames):
    with pytest.raises(DataError, match=r"expected maps of 3 frames, got 2 of 'short'\. Pass one map"):
        attention_strip(frames, {"short": np.ones((2, 2, 2))})
    with pytest.raises(DataError, match="got none"):
        attention_strip(frames, {})


def test_shifts_are_percent_by_block():
    adapted, tmal = attention_shifts(
        {"adapted": {"order": [0.0, 0.5], "motion": [0.1, 0.2]}, "tmal": {"order": [0.0, 0.1], "motion": [0.0, 0.3]}}
    ).axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in adapted.lines}
    assert lines == {"order": [[1, 0], [2, 50]], "motion": [[1, 10], [2, 20]]}
    assert tmal.get_title(loc="left") == "tmal" and tmal.lines[1].get_ydata().tolist() == [0, 30]
    assert adapted.get_ylim() == tmal.get_ylim()
    higher = attention_shifts({"adapted": {"order": [0.1]}, "tmal": {"order": [0.6]}}).axes[0]
    assert higher.get_ylim()[0] == 0 and higher.get_ylim()[1] >= 60
    with pytest.raises(DataError, match="expected at least one model, got none"):
        attention_shifts({})


def test_an_aligned_pair_of_equal_clips_lies_on_the_diagonal(pair):
    assert pair.alignment.diagonal().min() > 0.9 and pair.alignment.shape == pair.distances.shape == (3, 3)
    assert pair.distance == pytest.approx(2 * 3 * pair.distances[0, 0], abs=0.1)


def test_alignments_draw_map_strips_and_both_paths(pair, frames, tmp_path):
    query, support = torch.eye(3), torch.eye(3)[[1, 2]]
    late = AlignedPair.of("late start", (frames, frames[1:]), (query, support), smoothing=0.1)
    figure = alignments([[pair, late]], ["frozen"])
    heats = [axes for axes in figure.axes if axes.lines]
    assert [axes.get_title(loc="left").strip() for axes in heats] == ["own class", "late start"]
    assert np.array_equal(heats[1].images[0].get_array(), late.alignment)
    assert heats[0].images[0].get_clim() == heats[1].images[0].get_clim()
    # Drawn as (support, query): the query's first frame is left out by the solid path, which takes all of the support.
    assert heats[1].lines[1].get_xydata().tolist() == [[0, 1], [1, 2]]
    assert heats[1].lines[3].get_xydata()[:, 1].tolist() == [0, 1, 2]
    strips = [axes.images[0].get_array() for axes in figure.axes if axes.images and not axes.lines]
    assert strips[2].shape == (24, 8, 3) and np.array_equal(strips[3], np.concatenate(list(frames[1:]), axis=1))
    assert save_figure(figure, tmp_path, "pair").stat().st_size > 10_000


def test_alignments_want_a_pair():
    with pytest.raises(DataError, match="expected at least one pair of clips, got none"):
        alignments([])
