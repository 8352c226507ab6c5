"""Figures in words: titles, values by row, first and last of lines, how many pictures, and where they are saved."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from tmal_core.viz import live
from tmal_core.viz.attention_plots import attention_shifts, attention_strip
from tmal_core.viz.clip_plots import film_strips
from tmal_core.viz.figure_words import LONGEST, in_words
from tmal_core.viz.plots import confusion, results, training_curves, ways_and_shots
from tmal_core.viz.style import save_figure

FRAMES = np.zeros((3, 8, 8, 3), np.uint8)
TABLE = pd.DataFrame(
    {
        "method": ["otam", "otam", "tmal", "tmal"],
        "title": ["OTAM", "OTAM", "TMAL", "TMAL"],
        "episode_type": "order",
        "way": 2,
        "shot": [1, 5] * 2,
        "chance_pct": 50.0,
        "accuracy_pct": [75.2, 91.0, 64.6, 56.7],
        "low_pct": 40.0,
        "high_pct": 99.0,
    }
)


def test_points_are_named_by_their_rows():
    said = in_words(results(TABLE[TABLE["shot"] == 1], {"order": "who follows whom"}))
    assert said.startswith("One panel per episode type: each method's accuracy as a point")
    assert said.endswith("order · 2-way (who follows whom): accuracy, %: OTAM 75.2; TMAL 64.6.")


def test_lines_by_their_legend():
    history = pd.DataFrame(
        {"method": "tmal", "episode": [1, 2, 3], "loss": [2.0, 1.5, 1.0], "train_pct": 50.0, "val_pct": 40.0}
    ).assign(grad_norm=1.0)
    said = in_words(training_curves(history, {"tmal": "TMAL"}, {}))
    assert "training loss: cross-entropy" in said and "TMAL from 2 at 1 to 1 at 3" in said
    more = pd.concat([TABLE, TABLE.assign(shot=TABLE["shot"] + 1)])
    assert (
        "order, 2-way: accuracy, %, examples per class: a dashed line from 50 at 1 to 50 at 6; OTAM from"
        in in_words(ways_and_shots(more, 2, 1))
    )
    assert "adapted: attention that lies elsewhere, %, block: speed from 10 at 1 to 40 at 3" in in_words(
        attention_shifts({"adapted": {"speed": [0.1, 0.2, 0.4]}})
    )


def test_pictures_are_counted_and_maps_have_a_range():
    said = in_words(
        film_strips({"a red cross": FRAMES, "a star": FRAMES}, {"a red cross": [1, 5, 9], "a star": [0, 2, 4]})
    )
    assert said.endswith(
        "a red cross: 3 pictures (frame 1, frame 5, frame 9). a star: 3 pictures (frame 0, frame 2, frame 4)."
    )
    said = in_words(attention_strip(FRAMES, {"frozen": np.full((3, 2, 2), 0.25)}, "order: a shape"))
    assert "order: a shape: 3 pictures (frames)" in said
    assert "3 pictures (frozen), a map of 2 by 2 values from 1 to 1 and alike" in said
    matrix = pd.DataFrame([[90.0, 10.0], [20.0, 80.0]], index=["a", "b"], columns=["a", "b"])
    assert "a map of 2 by 2 values from 10 to 90" in in_words(confusion(matrix, ["x", "y"]))


def test_a_label_of_one_s_own_is_kept_and_nothing_is_endless():
    figure = Figure(label="Mine")
    axes = figure.subplots()
    axes.set_title(" ".join(["long"] * 1000))
    axes.scatter([1, 2], [3, 4])
    said = in_words(figure)
    assert said.startswith("Mine. long") and said.endswith(" ...") and len(said) <= LONGEST + 4
    assert in_words(Figure()) == "A figure."
    bars = Figure()
    bars.subplots().bar([0, 1], [3, 7.5])
    assert "2 bars up to 7.5" in in_words(bars)


def test_the_words_are_in_the_file_and_beside_the_output(tmp_path, monkeypatch):
    figure = results(TABLE[TABLE["shot"] == 1], {})
    assert Image.open(save_figure(figure, tmp_path, "a")).text["Description"] == in_words(figure)
    shown = []
    monkeypatch.setattr(live, "display", lambda picture, **options: shown.append(picture))
    live.show(figure, tmp_path, "b")
    drawing = live.LiveFigure(lambda: figure)
    drawing.update()
    assert [picture.alt for picture in shown] == [in_words(figure)] * 2
