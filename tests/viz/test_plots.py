"""Plots of numbers: each number at its place, chance and zero drawn, files whole."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from tmal_core.errors import DataError
from tmal_core.viz.plots import cheat_accuracies, confusion, differences, results, training_curves, ways_and_shots
from tmal_core.viz.style import ACCENT, METHOD_COLOURS, WARN, method_marks, save_figure


@pytest.fixture
def table():
    rows = [
        {"method": m, "title": m.upper(), "episode_type": p, "way": way, "chance_pct": 100 / way, "accuracy_pct": pct}
        for m, pct in (("otam", 60.0), ("new", 80.0))
        for p, way in (("order", 2), ("mixed", 5))
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(low_pct=frame["accuracy_pct"] - 5, high_pct=frame["accuracy_pct"] + 4)


def points(panel):
    return np.concatenate([c.get_offsets() for c in panel.collections])


def test_results_show_points_intervals_and_chance(table):
    order, mixed = results(table, {"order": "a note"}).axes
    assert points(order).tolist() == [[60, 0], [80, 1]]
    lines = [line.get_xdata() for line in order.lines]
    assert list(lines[0]) == [50, 50] and list(lines[1]) == [55, 64]
    assert list(mixed.lines[0].get_xdata()) == [20, 20]
    assert order.get_title(loc="left") == "order · 2-way" and "a note" in [t.get_text() for t in order.texts]
    assert "several families at once" in [t.get_text() for t in results(table).axes[1].texts]
    assert [t.get_text() for t in order.get_yticklabels()] == ["OTAM", "NEW"]


def test_the_spread_over_seeds_is_a_line_of_its_own_where_there_is_one(table):
    order = results(table.assign(seed_spread=[2.0, 1.0, float("nan"), 1.0])).axes[0]
    assert [list(line.get_xdata()) for line in order.lines[1:]] == [[55, 64], [58, 62], [75, 84]]
    gap = {
        "first": "a",
        "second": "b",
        "episode_type": "order",
        "points": 10.0,
        "low": 5.0,
        "high": 15.0,
        "clear": True,
    }
    _zero, interval, spread = differences(pd.DataFrame([gap | {"seed_spread": 3.0}])).axes[0].lines
    assert list(spread.get_xdata()) == [7, 13] and list(interval.get_xdata()) == [5, 15]


def test_a_missing_row_leaves_a_gap(table):
    assert points(results(table.iloc[:-1]).axes[1]).tolist() == [[60, 0]]


def test_differences_are_coloured_by_whether_they_are_clear():
    rows = [("a", "b", "order", 10.0, 5.0, 15.0, True), ("a", "b", "mixed", -1.0, -3.0, 2.0, False)]
    gaps = pd.DataFrame(rows, columns=["first", "second", "episode_type", "points", "low", "high", "clear"])
    figure = differences(gaps, {"a": "Anna"})
    clear, unclear = figure.axes
    assert points(clear).tolist() == [[10, 0]] and points(unclear).tolist() == [[-1, 0]]
    assert not np.allclose(clear.collections[0].get_facecolor(), unclear.collections[0].get_facecolor())
    assert clear.get_xlim() == unclear.get_xlim() and clear.get_xlim()[0] < -3 and clear.get_xlim()[1] > 15
    assert clear.get_yticklabels()[0].get_text() == "Anna\nminus b"
    assert [t.get_text() for t in unclear.texts] == ["−1.0"]
    level = differences(gaps.assign(points=-0.04)).axes[0]
    assert [t.get_text() for t in level.texts] == ["0.0"]


def test_training_curves_have_a_panel_per_episode_type_and_a_line_per_method():
    history = pd.DataFrame(
        {"method": ["a", "a", "b"], "episode": [10, 20, 10], "loss": [2.0, 1.0, 3.0], "train_pct": 50.0}
    ).assign(grad_norm=[2.0, 0.5, 1.0], val_pct=[51.0, 60.0, 52.0], val_order_pct=[51.0, 60.0, 52.0])
    figure = training_curves(history, {"a": "Anna"}, {"order": 50.0}, clip_norm=1.0)
    loss, norm, train, order = figure.axes
    assert order.get_title(loc="left") == "validation: order"
    assert [list(line.get_ydata()) for line in order.lines[:2]] == [[51, 60], [52]]
    assert list(order.lines[2].get_ydata()) == [50, 50] and len(loss.lines) == len(train.lines) == 2
    assert norm.get_ylim() == (0, 2.2) and list(norm.lines[2].get_ydata()) == [1, 1]
    assert points(order).tolist() == [[20, 60], [10, 52]]  # the best ones are ringed
    loss, text, *_ = training_curves(history.assign(text_loss=[0.5, 0.4, np.nan]), {}, {}).axes
    assert text.get_title(loc="left") == "of it video-text, unweighted" and loss.get_ylabel() == "cross-entropy"
    assert list(text.lines[0].get_ydata()) == [0.5, 0.4] and np.isnan(text.lines[1].get_ydata()).all()
    shares = history.assign(text_loss=[0.5, 0.4, np.nan], text_grad_pct=[80.0, 30.0, np.nan])
    share = training_curves(shares, {}, {}).axes[3]
    assert share.get_title(loc="left") == "share of video-text in it"
    assert share.get_ylabel() == "% of both losses' norms"
    assert list(share.lines[0].get_ydata()) == [80, 30] and share.get_ylim() == (0, 104)
    both = training_curves(history.assign(val_motion_pct=30.0), {}, {}).axes
    assert [axes.get_title(loc="left") for axes in both][3:6] == [
        "validation, mean",
        "validation: order",
        "validation: motion",
    ]


def test_ways_above_shots_below_and_gaps_where_nothing_was_asked():
    cells = [("mixed", way, shot) for way in (2, 5, 10) for shot in (1, 3)] + [("order", 2, 1), ("order", 2, 3)]
    rows = [{"method": "a", "title": "Anna", "episode_type": p, "way": way, "shot": shot} for p, way, shot in cells]
    table = pd.DataFrame(rows).assign(accuracy_pct=lambda t: 90.0 - 5 * t["way"] + t["shot"])
    table = table.assign(low_pct=table["accuracy_pct"] - 1, high_pct=table["accuracy_pct"] + 1)
    table["chance_pct"] = 100 / table["way"]
    table.loc[(table["way"] == 10) & (table["shot"] == 1), ["accuracy_pct", "low_pct", "high_pct"]] = np.nan
    mixed_ways, order_ways, mixed_shots, order_shots = ways_and_shots(table, way=5, shot=1).axes
    chance, line = mixed_ways.lines
    assert chance.get_ydata().tolist() == [50, 20, 10]
    np.testing.assert_array_equal(line.get_ydata(), [81, 66, np.nan])
    assert [t.get_text() for t in mixed_ways.get_xticklabels()] == ["2", "5", "10"]
    assert mixed_shots.lines[1].get_ydata().tolist() == [66, 68]
    assert mixed_shots.get_title(loc="left") == "mixed, 5-way" and order_shots.get_title(loc="left") == "order, 2-way"
    assert list(order_ways.lines[0].get_ydata()) == [50, 50] and order_ways.lines[1].get_ydata().tolist() == [81]


def test_confusion_marks_groups():
    matrix = pd.DataFrame(np.eye(3) * 100, index=list("abc"))
    axes = confusion(matrix, ["x", "x", "y"]).axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["x", "y"]
    assert [list(line.get_ydata()) for line in axes.lines[:1]] == [[1.5, 1.5]]
    with pytest.raises(DataError, match=r"square matrix of 2 classes, got \(3, 3\)"):
        confusion(matrix, ["x", "y"])


@pytest.mark.parametrize(
    ("change", "words"),
    [(lambda t: t.drop(columns="way"), "a table without way"), (lambda t: t.iloc[:0], "a table without rows")],
)
def test_a_table_that_does_not_fit_is_named(table, change, words):
    with pytest.raises(DataError, match=words):
        results(change(table))


def test_methods_keep_their_marks_and_differ():
    marks = method_marks(["new", "otam", "other", "st_adapter"])
    assert marks["otam"] == method_marks(["otam"])["otam"] and marks["otam"].colour == METHOD_COLOURS["otam"]
    assert len({mark.colour for mark in marks.values()}) == 4


def test_a_figure_is_saved_whole_and_leaves_the_users_style_alone(table, tmp_path):
    with mpl.rc_context({"font.size": 31}):
        figure = results(table)
        assert mpl.rcParams["font.size"] == 31
    assert figure.axes[0].get_yticklabels()[0].get_fontsize() < 20
    path = save_figure(figure, tmp_path, "05_results")
    assert path == tmp_path / "figures" / "05_results.png" and path.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in path.parent.iterdir()] == ["05_results.png"]


def test_cheats_are_red_crosses_and_what_is_none_blue_dots():
    rows = [("order", "first frame", True, 50.0, 49.0), ("order", "OTAM", False, 50.0, 77.0)]
    rows += [("appearance", "first frame", True, 20.0, 90.0), ("appearance", "OTAM", False, 20.0, 95.0)]
    table = pd.DataFrame(rows, columns=["family", "row", "cheat", "chance_pct", "accuracy_pct"])
    order, appearance = cheat_accuracies(table).axes
    assert points(order).tolist() == [[49, 0], [77, 1]] and points(appearance).tolist() == [[90, 0], [95, 1]]
    red, blue = (mpl.colors.to_hex(dot.get_facecolor()[0]) for dot in order.collections)
    assert (red, blue) == (WARN, ACCENT)
    cross, dot = (mark.get_paths()[0].vertices for mark in order.collections)
    assert len(cross) != len(dot)
    assert list(appearance.lines[0].get_xdata()) == [20, 20] and appearance.get_title(loc="left") == "appearance"
