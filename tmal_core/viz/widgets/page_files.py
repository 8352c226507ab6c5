"""The files of a page: its scripts in the order in which they need each other, its style sheet, and itself as one file
that asks nobody.

A page is a function of its name in the last script, called with a host and the element that it is drawn in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Template
from typing import Any

from tmal_core.data.clips import ClipReader, FlowSource
from tmal_core.errors import TmalError
from tmal_core.runtime.files import atomic_path
from tmal_core.viz.animation import data_uri
from tmal_core.viz.widgets.clip_sheets import clip_sheet

_PAGE = Path(__file__).parent / "page"
_LIVE = "export default {{ render: ({{ model, el }}) => {page}(liveHost(model), el) }};"
_STATIC = (
    '{page}(staticHost(JSON.parse(document.getElementById("data").textContent)), document.getElementById("page"));'
)


def script(parts: Iterable[str], page: str, live: bool) -> str:
    """The scripts `parts` as one module that starts `page`: in a notebook, or in a file that asks nobody."""
    return "\n".join([scripts(*parts, _host(live)), (_LIVE if live else _STATIC).format(page=page)])


def scripts(*names: str) -> str:
    """Some of the pages' scripts, for another page: `scripts("dom", "clips")` plays clips."""
    return "\n".join((_PAGE / f"{name}.js").read_text(encoding="utf-8") for name in names)


def style(*names: str) -> str:
    """Style sheets behind each other."""
    return "\n".join((_PAGE / f"{name}.css").read_text(encoding="utf-8") for name in names)


def sheets_inside(reader: ClipReader, rows: Iterable[int], flow: FlowSource | None = None) -> dict[int, Any]:
    """Clips for a file that asks nobody, by row: facts and pictures, or why there are none."""
    return {row: sheet_inside(reader, row, flow) for row in rows}


def sheet_inside(reader: ClipReader, row: int, flow: FlowSource | None = None, **size: int) -> dict[str, Any]:
    """One of them; `size` as of `clip_sheet`."""
    try:
        sheet = clip_sheet(reader, row, flow, **size)
    except TmalError as error:
        return {"error": error.in_one_line}
    return {"facts": sheet.facts, "pictures": {kind: data_uri(part) for kind, part in sheet.pictures.items()}}


def json_inside(data: Any) -> str:
    """JSON for a script element, which no class name may end."""
    return json.dumps(data).replace("<", "\\u003c")


def save_page(path: Path, title: str, style: str, script: str, data: Mapping[str, Any]) -> None:
    """One HTML file, which needs no network."""
    parts = {"title": title, "style": style, "script": script, "data": json_inside(data)}
    template = Template((_PAGE / "exported.html").read_text(encoding="utf-8"))
    with atomic_path(path) as temporary:
        temporary.write_text(template.substitute(parts), encoding="utf-8")


def _host(live: bool) -> str:
    return "live_host" if live else "static_host"
