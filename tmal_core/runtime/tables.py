"""Tables as CSV that a spreadsheet opens as text (no cell begins a formula), and as text that fits a terminal.

A cell that begins with =, +, -, @ or a tab gets an apostrophe in front (OWASP, CSV injection), and so does one that
begins with apostrophes and then one of these: reading takes one off, and what was written comes back.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tmal_core.runtime.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def text_cell(text: Any) -> Any:
    """A cell as it is written; only text changes, numbers may be negative."""
    return f"'{text}" if isinstance(text, str) and _FORMULA.match(text) else text


def cell_text(cell: Any) -> Any:
    """What a cell meant.

    >>> [cell_text(text_cell(text)) for text in ("=1+1.mp4", "'-x", "plain")]
    ['=1+1.mp4', "'-x", 'plain']
    """
    return cell[1:] if isinstance(cell, str) and cell[:1] == "'" and _FORMULA.match(cell) else cell


def save_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table, every digit kept."""
    with atomic_path(path) as temporary:
        table.map(text_cell).rename(columns=text_cell).to_csv(temporary, index=False, lineterminator="\n")


def load_csv(path: Path, dtype: type | None = None) -> pd.DataFrame:
    """A table that `save_csv` wrote, empty cells as empty text; pandas' errors are passed on."""
    import pandas as pd  # half a second that writers of files need not spend

    return pd.read_csv(path, dtype=dtype, keep_default_na=False).map(cell_text).rename(columns=cell_text)


def fitted(table: pd.DataFrame, width: int, longest: int = 28) -> str:
    """A table as text of no more than `width` characters a line; what is cut ends in an ellipsis.

    Columns are taken as they come; where there is no room for more, a last column of ellipses says so.

    Args:
        longest: characters of a cell.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"run": ["suite", "a" * 40], "status": "done", "error": "b" * 40})
    >>> print(fitted(table, 32, longest=12))
    run          status error
    suite        done   bbbbbbbbbbb…
    aaaaaaaaaaa… done   bbbbbbbbbbb…
    >>> print(fitted(table, 24, longest=12))
    run          status …
    suite        done   …
    aaaaaaaaaaa… done   …
    """
    lines, used = [""] * (len(table) + 1), 0
    for place, name in enumerate(table):
        cells = [str(name), *map(_cell, table[name])]
        wanted = min(max(map(len, cells)), longest)
        room = width - used - (2 if place < len(table.columns) - 1 else 0)
        if place and room < min(wanted, _NARROWEST):
            lines = [f"{line}…" for line in lines]
            break
        taken = min(wanted, room)
        lines = [f"{line}{_cut(cell, taken):<{taken}} " for line, cell in zip(lines, cells, strict=True)]
        used += taken + 1
    return "\n".join(line.rstrip() for line in lines)


_NARROWEST = 8
"""Characters of a column that are worth showing, where it is longer."""


def _cell(value: Any) -> str:
    """Nothing for what is missing, few digits for a fraction."""
    if value is None or value != value:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
