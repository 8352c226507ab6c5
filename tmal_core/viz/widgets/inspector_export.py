"""What one takes away from the inspector: a picture, one file that opens offline, or the Python that gives the numbers.

The scripts of the page are put together here, in the order in which they need each other.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from string import Template
from typing import Any

from matplotlib.figure import Figure

from tmal_core.analysis.what_if import WhatIf
from tmal_core.errors import TmalError
from tmal_core.runtime.files import atomic_path
from tmal_core.viz.animation import data_uri
from tmal_core.viz.episode_plots import episode_result, model_pictures
from tmal_core.viz.style import DPI
from tmal_core.viz.widgets.clip_sheets import clip_sheet
from tmal_core.viz.widgets.inspector_state import InspectorState
from tmal_core.viz.widgets.inspector_view import title, view

_PAGE = Path(__file__).parent / "page"
_PARTS = (
    "dom",
    "clips",
    "alignment",
    "episode",
    "controls",
    "what_if",
    "episodes_table",
    "by_hand",
    "closely",
    "inspector",
)


def script(live: bool) -> str:
    """The page's scripts as one module: for a notebook, or for a file that asks nobody."""
    return scripts(*_PARTS, "live_host" if live else "static_host")


def scripts(*names: str) -> str:
    """Some of the page's scripts, for another page: `scripts("dom", "clips")` plays clips."""
    return "\n".join((_PAGE / f"{name}.js").read_text(encoding="utf-8") for name in names)


def style() -> str:
    """The page's style sheet."""
    return (_PAGE / "inspector.css").read_text(encoding="utf-8")


def figure(state: InspectorState) -> Figure:
    """The episode as the chosen method answers it, on paper."""
    choice, question = state.choice, state.question
    reader = state.answers.reader(choice.method)
    support, query = (model_pictures(reader, rows.ravel()) for rows in (question.support, question.query))
    return episode_result(state.before.result, support, query, f"{_asked(state)}: {title(choice.method)}")


def picture(state: InspectorState) -> bytes:
    """That figure as PNG."""
    content = io.BytesIO()
    figure(state).savefig(content, format="png", dpi=DPI, bbox_inches="tight")
    return content.getvalue()


def save_picture(state: InspectorState, path: Path) -> None:
    """That figure as a file."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(picture(state))


def save_page(state: InspectorState, path: Path) -> None:
    """One HTML file with playing clips, which needs no network."""
    answers, question = state.answers, state.question
    reader, flow = answers.reader(state.choice.method), answers.flow()
    clips: dict[int, Any] = {}
    for row in {*map(int, question.support.ravel()), *map(int, question.query)}:
        try:
            sheet = clip_sheet(reader, row, flow)
        except TmalError as error:
            clips[row] = {"error": " ".join(str(error).split())}
        else:
            clips[row] = {"facts": sheet.facts, "urls": {kind: data_uri(part) for kind, part in sheet.pictures.items()}}
    # A class name must not end the script element.
    data = json.dumps({"view": view(state), "clips": clips}).replace("<", "\\u003c")
    parts = {"title": _asked(state), "style": style(), "script": script(live=False), "data": data}
    template = Template((_PAGE / "exported.html").read_text(encoding="utf-8"))
    with atomic_path(path) as temporary:
        temporary.write_text(template.substitute(parts), encoding="utf-8")


def code(state: InspectorState) -> str:
    """Python that gives the same numbers."""
    choice, question = state.choice, state.question
    experiment = state.answers.methods[choice.method]
    if experiment.run_dir is not None:
        opened = f'Experiment.of_run("{experiment.run_dir}", method="{choice.method}")'
    else:
        opened = f'Experiment.of("{experiment.settings.preset}", {dict(experiment.set_by_user)!r}, "{choice.method}")'
    lines = [
        "from tmal_core.experiment import Experiment",
        "from tmal_core.viz.widgets.inspector_state import InspectorState",
        "",
        f"experiment = {opened}",
        f'state = InspectorState({{"{choice.method}": experiment}}, "{state.answers.split}")',
    ]
    if state.by_hand is None:
        drawn = {**vars(choice.drawn), "number": choice.number}
        lines.append(f"state.choose({', '.join(f'{name}={value!r}' for name, value in drawn.items())})")
    else:
        support = {name: rows.tolist() for name, rows in zip(question.classes, question.support, strict=True)}
        lines.append(f"state.ask({support!r}, {question.query.tolist()!r})")
    changed = {name: value for name, value in vars(state.what_if).items() if value != getattr(WhatIf(), name)}
    if changed:
        lines.append(f"state.suppose({', '.join(f'{name}={value!r}' for name, value in changed.items())})")
    return "\n".join(
        [*lines, "print(state.after.result.predicted)", "print(state.after.result.probabilities.round(3))"]
    )


def _asked(state: InspectorState) -> str:
    return (
        "clips of your choice"
        if state.by_hand is not None
        else f"{state.choice.episode_type}, episode {state.choice.number}"
    )
