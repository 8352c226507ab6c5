"""The picture of a prepared data set: a bar per class, losses on top, every video in each histogram."""

from __future__ import annotations

import pandas as pd
import pytest

from tmal_core.errors import DataError
from tmal_core.viz.data_plots import preparation
from tmal_core.viz.style import SPLIT_COLOURS, WARN


@pytest.fixture
def report():
    rows = [("train", "a", 5, 5), ("train", "b", 8, 6), ("test", "c", 4, 3)]
    return pd.DataFrame(rows, columns=["split", "class_name", "listed", "used"])


@pytest.fixture
def table():
    rows = [("train", 10 * i, 25.0, 240, 300 + i % 9) for i in range(1, 12)]
    rows += [("test", 40, 25.0, 240, 300)] * 3
    return pd.DataFrame(rows, columns=["split", "num_frames", "fps", "height", "width"])


def test_bars_add_up(report, table):
    classes, frames, fps, sizes = preparation(report, table).axes
    heights = [patch.get_height() for patch in classes.patches]
    assert heights == [6, 5, 2, 0, 3, 1], "the fullest class first, what is lost on top"
    assert classes.patches[2].get_y() == 6 and classes.patches[2].get_facecolor()[:3] == pytest.approx(rgb(WARN))
    assert classes.patches[2].get_hatch() and not classes.patches[0].get_hatch()
    assert [line.get_color() for line in classes.lines] == [SPLIT_COLOURS["train"], SPLIT_COLOURS["test"]]
    assert [text.get_text() for text in classes.texts] == [
        "train\n2 classes, 11 videos\n2 lost",
        "test\n1 classes, 3 videos\n1 lost",
    ]
    for axes in (frames, fps):
        assert sum(patch.get_height() for patch in axes.patches) == len(table)
    labels = [label.get_text() for label in sizes.get_yticklabels()]
    assert labels[0] == "300 × 240" and labels[-1] == "3 others" and len(labels) == 7
    assert sum(patch.get_width() for patch in sizes.patches) == len(table)


def rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def test_tables_that_do_not_fit(report, table):
    with pytest.raises(DataError, match="a table without used"):
        preparation(report.drop(columns="used"), table)
    with pytest.raises(DataError, match="a table without rows"):
        preparation(report, table.iloc[:0])
