"""What the inspector shows, as plain data for a page: everything but the pixels of the clips.

The page is drawn from this alone (`page/*.js`), in a notebook, under voila and in an exported file.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tmal_core.analysis.inspection import Asked
from tmal_core.analysis.what_if import WhatIf, frames_read
from tmal_core.matching import MATCHERS, Breakdown
from tmal_core.models.methods import METHODS
from tmal_core.viz.episode_plots import letter
from tmal_core.viz.widgets.inspector_state import IN_TABLE, InspectorState

ORDERS = ("as it is", "reversed", "shuffled", "frozen")
SUMS = ("otam+diagonal", "otam+tuples")
"""Of matchers, that the page offers beside each alone; from Python any."""
DIGITS = 5


def view(state: InspectorState) -> dict[str, Any]:
    """Everything that a page needs to show the state."""
    choice, question, answers = state.choice, state.question, state.answers
    sampling = answers.reader(choice.method).sampling
    return {
        "split": answers.split,
        "choice": {**vars(choice), "by_hand": state.by_hand is not None},
        "options": {
            "method": [[title(name), name] for name in answers.methods],
            "episode_type": list(answers.episode_types),
            "matching": list(dict.fromkeys([*MATCHERS, *SUMS, state.what_if.matching or MATCHERS[0]])),
            "order": list(ORDERS),
            "num_frames": _frame_counts(sampling.grid, sampling.num_frames),
        },
        "classes": [{"letter": letter(n), "name": name} for n, name in enumerate(question.classes)],
        "shot": question.support.shape[1],
        "support": [_clip(state, row) for row in question.support.ravel()],
        "queries": [_clip(state, row) for row in question.query],
        "labels": question.labels.tolist(),
        "before": _answer(state, state.before, WhatIf()),
        "after": None if state.what_if.is_nothing else _answer(state, state.after, state.what_if),
        "what_if": _what_if(state),
        "shows_flow": state.answers.flow() is not None,
        "message": message(state),
    }


def message(state: InspectorState) -> str:
    """What came out, in a line."""
    question, way = state.question, len(state.question.classes)
    known = question.labels >= 0
    right = int(state.before.result.correct[known].sum())
    asked = f"{right} of {int(known.sum())} right" if known.any() else "nobody knows what is right"
    less = " (classes of a group)" if state.by_hand is None and way < state.choice.way else ""
    line = f"{asked}, chance is {100 / way:.0f} % of {way} classes{less}."
    if not state.what_if.is_nothing:
        turned = int((state.after.result.predicted != state.before.result.predicted).sum())
        line += f" Changed as below, {turned} of {len(question.query)} answers are others."
    return line


def table(state: InspectorState, count: int = IN_TABLE) -> dict[str, Any]:
    """The first episodes, for a table: titles of the columns, and rows."""
    found = state.table(count)
    titles = {"episode": "episode", "margin": "least margin", "classes": "classes"}
    columns = [{"key": name, "title": titles.get(name) or f"{title(name)}, % right"} for name in found]
    return {"columns": columns, "rows": [[_plain(value) for value in row] for row in found.to_numpy().tolist()]}


def title(method: str) -> str:
    """A method's name for people."""
    return METHODS[method].title if method in METHODS else method


def _answer(state: InspectorState, asked: Asked, what_if: WhatIf) -> dict[str, Any]:
    """Probabilities, distances, and the chosen pair taken apart, with the native frames that were read of it."""
    choice, question, reader = state.choice, state.question, state.answers.reader(state.choice.method)
    result, parts = asked.result, asked.parts(choice.query, choice.support)
    query, support = int(question.query[choice.query]), int(question.support.ravel()[choice.support])
    positions = {
        "query": frames_read(reader, query, what_if, as_query=True).tolist(),
        "support": frames_read(reader, support, what_if, as_query=False).tolist(),
    }
    return {
        # Not rounded: the page rounds what it writes, and 10.996502 would become 10.9965, and then 10.996.
        "probabilities": result.probabilities.tolist(),
        "distances": result.distances.tolist(),
        "nearness": _rounded(result.nearness),
        "predicted": result.predicted.tolist(),
        "matcher": getattr(asked.model.head, "matching", None),
        "parts": None if parts is None else _parts(parts),
        "positions": positions,
    }


def _parts(parts: Breakdown) -> dict[str, Any]:
    return {
        "distance": parts.distance,
        "between": _rounded(parts.between_frames),
        "matched": _rounded(parts.matched),
        "added": _rounded(parts.added),
        "rest": _plain(parts.rest),
        "paths": [path.tolist() for path in parts.paths],
    }


def _clip(state: InspectorState, row: int) -> dict[str, Any]:
    table = state.answers.catalog.table
    return {"row": int(row), "video": str(table["video"].iat[row]), "class_name": str(table["class_name"].iat[row])}


def _what_if(state: InspectorState) -> dict[str, Any]:
    """Which switches there are, how they stand, and what a method has without them."""
    head, now = state.before.model.head, state.what_if
    has = {"matching": getattr(head, "matching", None), "smoothing": None}
    if state.switches["smoothing"]:
        has["smoothing"] = _plain(head.options["smoothing"])  # type: ignore[index]
    names = [now.names.get(label, name) for label, name in enumerate(state.question.classes)]
    values = {name: value for name, value in vars(now).items() if name != "names"}
    return {"switches": state.switches, "values": values, "has": has, "names": names, "changed": now != WhatIf()}


def _frame_counts(grid: int | str, now: int) -> list[int]:
    """Numbers of frames that a grid gives, from 2 to four times as many as now."""
    most = 4 * now
    return [count for count in range(2, most + 1) if grid == "all" or int(grid) % count == 0]


def _rounded(values: np.ndarray) -> list[Any]:
    return np.round(values.astype(np.float64), DIGITS).tolist()


def _plain(value: Any) -> Any:
    return round(value, DIGITS) if isinstance(value, float) else value
