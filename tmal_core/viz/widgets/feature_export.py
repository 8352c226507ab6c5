"""What one takes away from the map of features: a picture, or one file that opens offline, with playing clips."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from tmal_core.runtime.files import atomic_path
from tmal_core.viz.feature_plots import feature_clouds
from tmal_core.viz.style import as_png
from tmal_core.viz.widgets import page_files
from tmal_core.viz.widgets.feature_state import FeatureState
from tmal_core.viz.widgets.feature_view import clouds, features_view

_PARTS = ("dom", "clips", "controls", "roving", "scatter", "confusion", "features")


def script(live: bool) -> str:
    """The page's scripts as one module: for a notebook, or for a file that asks nobody."""
    return page_files.script(_PARTS, "featureMap", live)


def style() -> str:
    """The look of the inspector's page, and what this one has beside it."""
    return page_files.style("inspector").replace(".tmal-inspector", ".tmal-features") + page_files.style("features")


def figure(state: FeatureState) -> Figure:
    """Points before and after, and the confusion, on paper."""
    shown = state.shown
    return feature_clouds(clouds(state), shown.labels, shown.classes, shown.confusion)


def picture(state: FeatureState) -> bytes:
    """That figure as PNG."""
    return as_png(figure(state))


def save_picture(state: FeatureState, path: Path) -> None:
    """That figure as a file."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(picture(state))


def save_page(state: FeatureState, path: Path) -> None:
    """One HTML file with the clips of the episode type."""
    clips = page_files.sheets_inside(state.answers.reader(state.before), state.shown.rows.tolist())
    data = {"view": features_view(state, linked=False), "clips": clips}
    title = f"{state.choice.episode_type} of {state.answers.split}, before and after training"
    page_files.save_page(path, title, style(), script(live=False), data)
