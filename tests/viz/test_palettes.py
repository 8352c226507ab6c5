"""Colours for everybody: those used together lie apart under every kind of colour vision or carry a second mark, and
text stands out from its ground, in figures and on pages, light and dark."""

from __future__ import annotations

import re
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from colour_vision import VISION, ciecam02, closest, contrast, linear, mixed, seen, uniform
from matplotlib import colors
from matplotlib.text import Text

from tmal_core.analysis.inspection import EpisodeResult, Question
from tmal_core.viz import baseline_plots, clip_plots, data_plots, plots, style
from tmal_core.viz.attention_plots import AlignedPair, alignments, attention_shifts
from tmal_core.viz.episode_plots import episode_result

APART, READABLE, VISIBLE = 10, 4.5, 3
PACKAGE = Path(style.__file__).parents[1]
PAGE = PACKAGE / "viz" / "widgets" / "page"


def page_colours(dark: bool) -> dict[str, str]:
    """The variables of the pages' style sheet."""
    light, on_dark = re.findall(r"\{([^}]*--ink:[^}]*)\}", (PAGE / "inspector.css").read_text(encoding="utf-8"))
    return dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", on_dark if dark else light))


@pytest.mark.parametrize(
    ("xyz", "white", "adapting", "background", "lightness", "colourfulness", "hue"),
    [  # CIE 159:2004, section 9, and M. Fairchild's AppModEx.xls
        ([19.31, 23.93, 10.14], [98.88, 90, 32.03], 200, 18, 48.0314, 38.7789, 191.0452),
        ([19.31, 23.93, 10.14], [98.88, 90, 32.03], 20, 18, 47.6856, 29.7580, 185.3445),
        ([57.06, 43.06, 31.96], [95.05, 100, 108.88], 31.830988618379, 20, 65.95523, 41.67327, 19.55739),
    ],
)
def test_appearance_is_the_published_one(xyz, white, adapting, background, lightness, colourfulness, hue):
    found = ciecam02(np.array(xyz), np.array(white), adapting, background)
    np.testing.assert_allclose(np.concatenate(found), [lightness, colourfulness, hue], atol=2e-4)


def test_vision_and_contrast_are_the_published_ones():
    np.testing.assert_allclose(uniform(*np.array([[50.0], [20], [10]])), [[62.96296, 16.22743, 2.86133]], atol=1e-5)
    for vision, matrix in VISION.items():
        np.testing.assert_allclose(matrix.sum(1), 1, atol=2e-6, err_msg=vision)  # greys stay what they are
    red = np.clip(linear(["#ff0000"]) @ VISION["protanopia"].T, 0, 1)
    assert np.abs(red - linear(["#6d5f00"])).max() < 2e-3
    assert contrast("white", "black") == pytest.approx(21) and contrast("#777777", "white") == pytest.approx(
        4.48, abs=0.01
    )
    assert closest(["#c8553d", "#3a7d44"])[0] == pytest.approx(4.17, abs=0.01), "red and green of one lightness"


TOGETHER = {
    "methods, and what else has a line of its own": {*style.METHOD_COLOURS.values(), *style._FURTHER},
    "matchers": {mark.colour for mark in style.MATCHER_MARKS.values()},
    "splits, and what is lost of them": {*style.SPLIT_COLOURS.values(), style.WARN},
    "right and wrong": {style.RIGHT, style.WARN},
    "clear, unclear, zero": {style.ACCENT, style.SOFT, style.INK},
    "frames of the grid, test and training": {style.FAINT, style.SOFT, style.ACCENT, style.WARN},
    "classes": {*style.CLASS_COLOURS},
    "classes on dark": {*style.CLASS_COLOURS_ON_DARK},
    "right and wrong of the pages": {page_colours(False)[name] for name in ("right", "wrong")},
    "right and wrong of the pages on dark": {page_colours(True)[name] for name in ("right", "wrong")},
}


@pytest.mark.parametrize("name", TOGETHER)
def test_colours_used_together_lie_apart_for_everybody(name):
    distance, pair, vision = closest(sorted(TOGETHER[name]))
    assert distance >= APART, f"{pair} are {distance:.1f} apart under {vision}"


def test_what_shares_a_colour_has_a_shape_of_its_own():
    names = [*style.METHOD_COLOURS, *(f"further {n}" for n in range(10))]
    for marks in (list(style.method_marks(names).values()), style.class_marks(72)):
        places = {vision: seen([mark.colour for mark in marks], vision) for vision in VISION}
        for i, j in combinations(range(len(marks)), 2):
            apart = min(np.linalg.norm(place[i] - place[j]) for place in places.values())
            assert apart >= APART or marks[i].shape != marks[j].shape, (marks[i], marks[j])
    few = style.class_marks(8)
    assert len({mark.shape for mark in few}) == len({mark.colour for mark in few}) == 8
    assert len(style.CLASS_COLOURS) == len(style.CLASS_COLOURS_ON_DARK)


def results_table(methods) -> pd.DataFrame:
    rows = [
        {"method": name, "title": name, "episode_type": kind, "way": way, "shot": shot, "chance_pct": 100 / way}
        for name, kind, way, shot in product(methods, ("order", "mixed"), (2, 5), (1, 5))
    ]
    return pd.DataFrame(rows).assign(accuracy_pct=60.0, low_pct=55.0, high_pct=66.0)


def history(methods) -> pd.DataFrame:
    table = pd.DataFrame([(name, at) for name in methods for at in (10, 20)], columns=["method", "episode"])
    return table.assign(loss=1.0, grad_norm=1.0, train_pct=50.0, val_pct=51.0, val_order_pct=51.0)


LINES = ["tmal", "with_text", "with_flow", "bimhm", "other"]
TABLE = results_table(LINES)
RESULT = EpisodeResult(  # of 41 queries, whose distances are of every shade
    Question(tuple("abc"), np.array([[0], [1], [2]]), np.arange(41) + 3, np.arange(41) % 3),
    np.stack([np.zeros(41), np.ones(41), np.linspace(0, 1, 41)], 1).astype(np.float32),
    np.tile(np.array([[0.5, 0.3, 0.2]], np.float32), (41, 1)),
)


def frozen_table() -> pd.DataFrame:
    table = results_table(style.MATCHER_MARKS)
    table = table[(table["way"] == 5) & (table["shot"] == 1)]
    return table.assign(encoder="a", weights="random", matcher=table["method"], left_out="")


def aligned() -> AlignedPair:
    frames, map_ = np.zeros((3, 8, 8, 3), np.uint8), np.eye(3, dtype=np.float32)
    return AlignedPair("own class", frames, frames, 1 - map_, map_, 0.5)


def prepared() -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = [("train", "a", 5, 4), ("val", "b", 8, 6), ("test", "c", 4, 3)]
    report = pd.DataFrame(rows, columns=["split", "class_name", "listed", "used"])
    videos = pd.DataFrame({"split": ["train", "val", "test"], "num_frames": [30, 40, 50]})
    return report, videos.assign(fps=25.0, height=240, width=320)


GAPS = pd.DataFrame(
    [("a", "b", "order", 10.0, 5.0, 15.0, True), ("a", "b", "mixed", -1.0, -3.0, 2.0, False)],
    columns=["first", "second", "episode_type", "points", "low", "high", "clear"],
)
CHEATS = pd.DataFrame(
    [("order", "first frame", True, 50.0, 49.0), ("order", "OTAM", False, 50.0, 77.0)],
    columns=["family", "row", "cheat", "chance_pct", "accuracy_pct"],
)
FIGURES = {
    "results": lambda: plots.results(TABLE[(TABLE["way"] == 5) & (TABLE["shot"] == 1)]),
    "baselines": lambda: baseline_plots.baselines(frozen_table()),
    "differences": lambda: plots.differences(GAPS),
    "cheats": lambda: plots.cheat_accuracies(CHEATS),
    "training": lambda: plots.training_curves(history(LINES), {}, {"order": 50.0}, 1.0),
    "grid": lambda: plots.ways_and_shots(TABLE, 5, 1),
    "confusion": lambda: plots.confusion(pd.DataFrame(100 * np.eye(2), list("ab"), list("ab")), ["x", "y"]),
    "preparation": lambda: data_plots.preparation(*prepared()),
    "temporal grid": lambda: clip_plots.temporal_grid(48, np.arange(0, 48, 2), np.array([3, 9]), [np.array([4, 8])]),
    "clips": lambda: clip_plots.episode(*np.zeros((2, 2, 1, 2, 8, 8, 3), np.uint8), ["a", "b"]),
    "episode": lambda: episode_result(RESULT, *(np.zeros((n, 2, 8, 8, 3), np.uint8) for n in (3, 41))),
    "alignment": lambda: alignments([[aligned()]], ["tmal"]),
    "shifts": lambda: attention_shifts({"tmal": {f"family {n}": [0.1, 0.2] for n in range(7)}}),
}


def ground_of(text: Text) -> tuple[float, ...]:
    """What a text stands on: its own box, the cell of a heat map, or white."""
    if text.get_bbox_patch() is not None:
        return colors.to_rgb(text.get_bbox_patch().get_facecolor())
    for image in text.axes.images if text.axes is not None else ():
        values = image.get_array()
        x, y = text.get_position()
        if text in text.axes.texts and text.get_transform() == text.axes.transData and values.ndim == 2:
            return colors.to_rgb(image.cmap(image.norm(values[round(y), round(x)])))
    return (1.0, 1.0, 1.0)


@pytest.mark.parametrize("name", FIGURES)
def test_text_of_figures_can_be_read(name):
    figure = FIGURES[name]()
    figure.canvas.draw()
    shown = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    found = [(text.get_text(), round(contrast(text.get_color(), ground_of(text)), 2)) for text in shown]
    assert len(found) > 2 and [(text, ratio) for text, ratio in found if ratio < READABLE] == []


@pytest.mark.parametrize("name", ["training", "grid", "shifts"])
def test_lines_of_a_panel_differ_by_more_than_colour(name):
    axes = FIGURES[name]().axes[0]
    shapes = [line.get_marker() for line in axes.lines if line.get_marker() not in ("None", "", None)]
    assert len(shapes) >= len(LINES) and len(set(shapes[: len(LINES)])) == len(LINES)


def test_what_colour_says_of_points_their_shape_says_too():
    clear, unclear = (axes.collections[0] for axes in FIGURES["differences"]().axes)
    assert np.allclose(unclear.get_facecolor(), 1) and not np.allclose(clear.get_facecolor(), 1)
    for name in ("results", "baselines"):
        (shapes,) = {tuple(len(c.get_paths()[0].vertices) for c in axes.collections) for axes in FIGURES[name]().axes}
        assert len(set(shapes)) > 2


@pytest.mark.parametrize("dark", [False, True])
def test_text_of_pages_can_be_read(dark):
    page = page_colours(dark)
    assert set(page) >= {"ink", "soft", "paper", "line", "accent", "right", "wrong"}
    for name in ("ink", "soft", "accent", "right", "wrong"):
        assert contrast(page[name], page["paper"]) >= READABLE, name
    for share in np.linspace(0, 0.45, 10):  # what a cell of a table of distances is mixed of
        assert contrast(page["ink"], mixed(page["accent"], page["paper"], share)) >= READABLE, share
    for colour in style.CLASS_COLOURS_ON_DARK if dark else style.CLASS_COLOURS:
        assert contrast(colour, page["paper"]) >= VISIBLE, colour


def test_colours_have_one_home():
    """What stands elsewhere is measured by nobody."""
    homes = {"style.py", "inspector.css", "exported.html", "report.css"}
    files = [path for kind in ("py", "js", "css", "html*") for path in PACKAGE.rglob(f"*.{kind}")]
    found = {path.name for path in files if re.search(r"#[0-9a-fA-F]{6}\b", path.read_text(encoding="utf-8"))}
    assert "style.py" in found and found <= homes


def test_pages_draw_every_shape_of_a_class():
    script = (PAGE / "scatter.js").read_text(encoding="utf-8")
    shapes = script[script.index("const SHAPES") :].split("};")[0]
    drawn = [mark for mark in style.CLASS_MARKS if re.search(rf'[\s{{]"?{re.escape(mark)}"?: ', shapes)]
    assert drawn == list(style.CLASS_MARKS)
