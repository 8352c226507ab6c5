"""What the map of features shows, as plain data for a page: everything but the pixels of the clips."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tmal_core.viz.episode_plots import letter
from tmal_core.viz.feature_plots import Cloud
from tmal_core.viz.style import CLASS_COLOURS, CLASS_COLOURS_ON_DARK, class_marks
from tmal_core.viz.widgets.feature_state import FeatureState
from tmal_core.viz.widgets.inspector_view import title


def features_view(state: FeatureState, linked: bool) -> dict[str, Any]:
    """Everything that a page needs; `linked` says whether an inspector shows the episodes that are opened."""
    shown, choice = state.shown, state.choice
    names = {"before": state.before, "after": choice.after}
    table = state.catalog.table
    on_dark = dict(zip(CLASS_COLOURS, CLASS_COLOURS_ON_DARK, strict=True))
    classes = [
        {"letter": letter(n), "name": name, "shape": mark.shape, "light": mark.colour, "dark": on_dark[mark.colour]}
        for n, (name, mark) in enumerate(zip(shown.classes, class_marks(len(shown.classes)), strict=True))
    ]
    places = [np.round(shown.places[name], 4).tolist() for name in names.values()]
    points = [
        {"row": int(row), "video": str(table["video"].iat[row]), "label": int(label), "before": before, "after": after}
        for row, label, before, after in zip(shown.rows, shown.labels, *places, strict=True)
    ]
    return {
        "split": state.answers.split,
        "choice": {**vars(choice)},
        "options": {
            "after": [[title(name), name] for name in state.others],
            "episode_type": list(state.answers.episode_types),
        },
        "classes": classes,
        "points": points,
        "maps": {side: _map(state, name, side) for side, name in names.items()},
        "confusion": [
            [None if math.isnan(v) else round(v, 3) for v in row] for row in shown.confusion.to_numpy().tolist()
        ],
        "cells": _cells(state),
        "episodes": state.count,
        "linked": linked,
        "message": message(state),
    }


def message(state: FeatureState) -> str:
    """What came out, in a line."""
    shown = state.shown
    before, after = shown.spread.to_dict("records")
    right = 100 * float((shown.answers["asked"] == shown.answers["answered"]).mean())
    change = f"{after['change_points']:+.1f}".replace("-", "−")
    sure = (
        ""
        if math.isnan(after["change_low"])
        else f" [{after['change_low']:.1f}, {after['change_high']:.1f}]".replace("-", "−")
    )
    return (
        f"Clips of a class are {before['ratio_pct']:.0f} % as far apart as those of classes that they are told from; "
        f"after training {after['ratio_pct']:.0f} %: {change} points{sure}. {title(state.choice.after)} answers "
        f"{right:.0f} % of {len(shown.answers):,} queries right, {state.count} episodes of {state.answers.split}."
    )


def clouds(state: FeatureState) -> dict[str, Cloud]:
    """The same points for a figure."""
    found = {}
    for side, name in (("before", state.before), ("after", state.choice.after)):
        shown = state.shown
        found[f"{side}: {title(name)}"] = Cloud(shown.places[name], shown.axes[name].shares, _apart(state, name))
    return found


def _map(state: FeatureState, name: str, side: str) -> dict[str, Any]:
    shown = state.shown
    return {
        "title": f"{side}: {title(name)}",
        "shares": np.round(shown.axes[name].shares, 3).tolist(),
        "fitted": f"axes fitted on these {len(shown.rows)} clips of {state.answers.split}",
        "apart": _apart(state, name),
    }


def _apart(state: FeatureState, name: str) -> str:
    row = state.shown.spread.set_index("method").loc[name]
    sure = "" if math.isnan(row["low_pct"]) else f" [{row['low_pct']:.0f}, {row['high_pct']:.0f}]"
    return f"within classes {row['within']:.3f}, between {row['between']:.3f}: {row['ratio_pct']:.0f} %{sure}"


def _cells(state: FeatureState) -> dict[str, list[list[float]]]:
    """By "asked,answered": episode, query; rows of the query, of its own and the answered support clip; probability."""
    shown, number = state.shown, {name: n for n, name in enumerate(state.shown.classes)}
    columns = ["episode", "query", "row", "own_row", "answered_row", "probability"]
    return {
        f"{number[asked]},{number[answered]}": some[columns].round(3).to_numpy().tolist()
        for (asked, answered), some in shown.answers.groupby(["asked", "answered"], sort=False)
    }
