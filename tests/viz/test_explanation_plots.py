"""Figures of explanations and of what is measured of them: what is drawn, read back from the artists, and in words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tmal_core.analysis.additions import Addition
from tmal_core.analysis.faithfulness import ANEW, BELOW_RANDOM, CENTRE, DELETION, INSERTION, RANDOM, TIMES_AREA
from tmal_core.analysis.faithfulness_bars import BARS, verdicts
from tmal_core.errors import DataError
from tmal_core.viz.addition_plots import additions_by_block, additions_in_words, largest_additions
from tmal_core.viz.explanation_plots import (
    costs_in_words,
    explanation_strip,
    frame_costs,
    overlaid,
    strip_in_words,
    with_verdicts,
)
from tmal_core.viz.faithfulness_plots import deletion_and_insertion, measured_against_bars, verdicts_in_words

POSITIONS = [4, 20, 36]


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 255, (3, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def maps():
    first, second = np.zeros((3, 2, 2)), np.zeros((3, 2, 2))
    first[1, 0, 1], first[2, 1, 0], second[0] = 4, -2, 0.5
    return {"first": first, "second": second}


def test_each_map_is_relative_to_its_own_highest(pictures, maps):
    grey = np.rint(pictures @ [0.299, 0.587, 0.114])
    first, second = (overlaid(pictures, each).astype(float) for each in maps.values())
    assert np.abs(first[0] - grey[0][..., None]).max() <= 1  # nothing is said of the first frame
    spoken = first[1, :4, 4:]
    assert np.abs(first[1, 4:] - grey[1, 4:, :, None]).max() <= 1 and spoken[..., 0].min() > spoken[..., 2].max()
    against = first[2, 4:, :4]
    assert (against[..., 2] > against[..., 1]).all()  # violet, and half as strong
    doubled = overlaid(pictures, 2 * maps["second"])
    assert np.array_equal(doubled, second) and np.ptp(second[0] - 0.15 * grey[0][..., None], axis=(0, 1)).max() <= 2


def test_a_strip_has_a_row_of_each_map(pictures, maps):
    figure = explanation_strip(pictures, maps, POSITIONS, "a title")
    rows = [axes for axes in figure.axes if axes.images]
    assert len(rows) == 3 and figure.get_suptitle() == "a title"
    shown = np.asarray(rows[0].images[0].get_array())
    assert shown.shape == (8, 3 * 8 + 2, 3) and np.array_equal(shown[:, :8], pictures[0])
    assert np.array_equal(shown[:, 9:17], pictures[1]) and (shown[:, 8] == 255).all()
    third = np.asarray(rows[1].images[0].get_array())[:, 18:]
    assert np.array_equal(third, overlaid(pictures, maps["first"])[2])
    assert figure.axes[-1].get_ylim() == (-1, 1) and "against the class" in figure.axes[-1].get_ylabel()
    plain = explanation_strip(pictures, {"second": maps["second"]}, POSITIONS, scale="length").axes[-1]
    assert plain.get_ylim() == (0, 1) and plain.get_ylabel() == "length, × highest of the row"
    (names,) = (child for child in rows[0].child_axes)
    assert [label.get_text() for label in names.get_xticklabels()] == ["frame 4", "frame 20", "frame 36"]
    with pytest.raises(DataError, match="expected maps of 3 frames, got 2 of 'short'"):
        explanation_strip(pictures, {"short": np.zeros((2, 2, 2))}, POSITIONS)


def test_a_map_of_nothing_is_drawn_as_nothing(pictures):
    shown = overlaid(pictures, np.zeros((3, 2, 2)))
    assert np.abs(shown - (pictures @ [0.299, 0.587, 0.114])[..., None]).max() <= 1


def test_what_fails_comes_last_and_is_called_so(pictures, maps):
    ordered = with_verdicts(maps, {"first": False})
    assert list(ordered) == ["second", "first (fails)"]
    figure = explanation_strip(pictures, ordered, POSITIONS)
    assert [axes.get_ylabel() for axes in figure.axes if axes.images] == ["", "second", "first\nfails"]
    assert list(with_verdicts(maps, {})) == ["first", "second"]


def test_a_strip_in_words(maps):
    words = strip_in_words(maps, POSITIONS, "A title")
    assert words.startswith("A title. 3 frames under maps of 2 by 2 patches.")
    assert "first: highest in frame 20, patch row 1, column 2" in words


def test_costs_of_frames_are_points():
    costs = {"frames": np.array([0.1, -0.2, 0.3]), "flow": np.zeros(3)}
    panels = frame_costs(costs, POSITIONS, "t").axes
    assert [bar.get_height() for bar in panels[0].patches] == pytest.approx([10, -20, 30])
    assert len({bar.get_facecolor() for bar in panels[0].patches}) == 2 and panels[1].get_title(loc="left") == "flow"
    assert [label.get_text() for label in panels[0].get_xticklabels()] == ["4", "20", "36"]
    assert "without frames frame 36 costs most, 30.0 points" in costs_in_words(costs, POSITIONS)


@pytest.fixture
def added():
    sizes = {("flow", 1): 0.5, ("flow", 2): 0.1, ("text", 2): 0.2}
    return [Addition(b, n, torch.full((3, 2, 2), s), torch.full((3, 2, 2), -s)) for (b, n), s in sizes.items()]


def test_what_branches_add_by_block(added):
    sizes, directions = additions_by_block(added, "t").axes
    assert sizes.lines[0].get_xydata().tolist() == pytest.approx(np.array([[1, 50], [2, 10]]))
    assert directions.lines[0].get_xydata()[:, 1].tolist() == pytest.approx([-0.5, -0.1])
    assert [line.get_label() for line in sizes.lines] == ["flow", "text"]
    assert len({line.get_marker() for line in sizes.lines}) == 2
    assert list(largest_additions(added)) == ["flow,\nblock 1", "text,\nblock 2"]
    assert "flow at block 1 adds 50 % of a token's length, cosine -0.50" in additions_in_words(added)
    with pytest.raises(DataError, match="expected a method with adapters, flow or text in it, got one without"):
        additions_by_block([])


@pytest.fixture
def table():
    good = {TIMES_AREA: 3.0, BELOW_RANDOM: -8.0, **dict.fromkeys(ANEW.values(), 0.1), DELETION: 30.0, INSERTION: 60.0}
    means = {"bad": {**good, TIMES_AREA: 1.5}, "good": good, RANDOM: good, CENTRE: good}
    rows = [
        {"family": "appearance", "input": "frames", "measure": name, "quantity": quantity, "mean": mean}
        for name, found in means.items()
        for quantity, mean in found.items()
    ]
    table = pd.DataFrame(rows)
    curve = table["quantity"].map({DELETION: "90.0 20.0 10.0", INSERTION: "10.0 80.0 90.0"}).fillna("")
    return table.assign(low=table["mean"] - 1, high=table["mean"] + 1, clips=200, curve_pct=curve)


def test_measures_against_their_bars(table):
    judged = verdicts(table)
    figure = measured_against_bars(table, judged, "frames")
    panels = figure.axes
    assert len(panels) == len(BARS) and figure.get_suptitle() == "frames on appearance, 200 clips"
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["good", "bad: fails"]
    places = [dot.get_offsets().tolist()[0] for dot in panels[0].collections]
    assert places == [[3.0, 0], [1.5, 1]]
    faces = [tuple(dot.get_facecolor()[0]) for dot in panels[0].collections]
    assert faces[1] == (1, 1, 1, 1) and faces[0] != faces[1]
    assert panels[0].lines[0].get_xdata()[0] == 2 and panels[0].lines[1].get_xdata().tolist() == [2, 4]
    with pytest.raises(DataError, match="expected measures of flow, got none"):
        measured_against_bars(table, judged, "flow")


def test_curves_of_all_measures_and_of_what_knows_nothing(table):
    deletion, insertion = deletion_and_insertion(table, verdicts(table), "frames").axes
    assert [line.get_label() for line in deletion.lines] == ["good", "bad", RANDOM, CENTRE]
    assert deletion.lines[0].get_xydata().tolist() == [[0, 90], [50, 20], [100, 10]]
    assert insertion.lines[0].get_ydata().tolist() == [10, 80, 90]
    assert deletion.lines[0].get_color() != deletion.lines[1].get_color()
    with pytest.raises(DataError, match="expected measures of flow, got none"):
        deletion_and_insertion(table, verdicts(table), "flow")


def test_verdicts_in_words(table):
    words = verdicts_in_words(verdicts(table), "frames")
    assert words.startswith("Maps of frames. Pass: good. Fail: bad (") and "not at least 2 times" in words
    assert verdicts_in_words(verdicts(table), "flow") == "Maps of flow. Pass: none. Fail: none."
