"""A live figure: one output, replaced by each update."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure
from PIL import Image

from tmal_core.viz import live


class _Handle:
    def __init__(self, shown):
        self.shown = shown

    def update(self, picture):
        self.shown[-1] = picture


@pytest.fixture
def shown(monkeypatch):
    pictures = []

    def display(picture, display_id):
        assert display_id
        pictures.append(picture)
        return _Handle(pictures)

    monkeypatch.setattr(live, "display", display)
    return pictures


def test_updates_replace_the_one_output(shown):
    sizes = iter([(1, 1), (2, 1)])
    figure = live.LiveFigure(lambda: Figure(figsize=next(sizes)))
    assert figure.figure is None and not shown
    figure.update()
    first = shown[0]
    figure.update()
    assert len(shown) == 1 and shown[0] is not first
    assert shown[0].data.startswith(b"\x89PNG") and shown[0].width > first.width
    assert figure.figure.get_size_inches().tolist() == [2, 1]


def test_what_is_shown_is_the_file_in_the_run_folder(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(live, "display", shown.append)
    live.show(Figure(), tmp_path, "05_results")
    assert shown[0].data == (tmp_path / "figures" / "05_results.png").read_bytes() and shown[0].retina


def test_a_figure_says_what_is_seen(tmp_path, monkeypatch):
    pictures = []
    monkeypatch.setattr(live, "display", pictures.append)
    live.show(Figure(figsize=(1, 1)), tmp_path, "one", "two bars − the left is higher")
    live.show(Figure(figsize=(1, 1)), tmp_path, "other")
    assert [picture.alt for picture in pictures] == ["two bars − the left is higher", "A figure."]
    with Image.open(tmp_path / "figures" / "one.png") as file:
        assert file.info["Description"] == "two bars − the left is higher"
