"""A table of results as Markdown and as LaTeX (booktabs): the same cells, caption and marks.

In LaTeX a method takes two lines, its interval below its accuracy, so that a table of many columns stays narrow.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "†": r"$^{\dagger}$",
    "⁺": r"$^{+}$",
    "⁻": r"$^{-}$",
    "‡": r"$^{\ddagger}$",
}
SHRUNK = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|#])")


class Cell(NamedTuple):
    """A figure; what stands beside it is text already."""

    figure: str
    beside: str = ""  # interval and spread
    mark: str = ""  # one of † ⁺ ⁻ ‡, or nothing
    bold: bool = False


@dataclass(frozen=True)
class Shown:
    """A table for people: plain text, which each form escapes."""

    label: str
    caption: Sequence[str]  # sentences
    head: Sequence[str]
    lines: Sequence[Sequence[str | Cell]] = field(default_factory=list)

    def __post_init__(self) -> None:
        assert all(len(line) == len(self.head) for line in self.lines)


def latex_text(text: str) -> str:
    """Text that LaTeX sets as it is.

    >>> latex_text("50 % of a_b & {c}")
    '50 \\\\% of a\\\\_b \\\\& \\\\{c\\\\}'
    """
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is, in a table too.

    >>> markdown_text("a_b | c")
    'a\\\\_b \\\\| c'
    """
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def markdown(table: Shown) -> str:
    """A caption and a table whose columns are as wide as their widest cell; figures stand on the right."""
    rows = [[markdown_text(name) for name in table.head], *([_md_cell(cell) for cell in line] for line in table.lines)]
    widths = [max(3, *(len(row[place]) for row in rows)) for place in range(len(table.head))]
    right = _on_the_right(table)
    lines = [_md_line(row, widths, right) for row in rows]
    rule = [f"{'-' * (width - 1)}:" if side else "-" * width for width, side in zip(widths, right, strict=True)]
    return "\n".join([markdown_text(" ".join(table.caption)), "", lines[0], _md_line(rule, widths, right), *lines[1:]])


def _on_the_right(table: Shown) -> list[bool]:
    """Of each column whether figures stand in it."""
    return [any(isinstance(line[place], Cell) for line in table.lines) for place in range(len(table.head))]


def _md_line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [f"{cell:>{w}}" if side else f"{cell:<{w}}" for cell, w, side in zip(cells, widths, right, strict=True)]
    return f"| {' | '.join(padded)} |"


def _md_cell(cell: str | Cell) -> str:
    if isinstance(cell, str):
        return markdown_text(cell)
    figure = f"**{cell.figure}**" if cell.bold else cell.figure
    return " ".join(part for part in (f"{figure}{cell.mark}", markdown_text(cell.beside)) if part)


def latex(table: Shown) -> str:
    """A `table` with its caption above, `tabular` by booktabs, shrunk to the width of a line where it is wider."""
    columns = "".join("r" if side else "l" for side in _on_the_right(table))
    lines = [_tex_line([latex_text(name) for name in table.head]), r"\midrule"]
    for number, line in enumerate(table.lines):
        lines += [r"\addlinespace"] * bool(number) + _tex_lines(line)
    caption = latex_text(" ".join(table.caption))
    label = re.sub(r"[^a-z0-9]+", "-", table.label.lower()).strip("-")
    start = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}", rf"\label{{tab:{label}}}", r"\small"]
    start += [SHRUNK, rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    return "\n".join([*start, *lines, r"\bottomrule", r"\end{tabular}}", r"\end{table}"])


def _tex_lines(line: Sequence[str | Cell]) -> list[str]:
    """The figures, and below them what stands beside them."""
    above, below = [], []
    for cell in line:
        if isinstance(cell, str):
            above.append(latex_text(cell))
            below.append("")
            continue
        figure = latex_text(cell.figure)
        above.append(rf"\textbf{{{figure}}}{latex_text(cell.mark)}" if cell.bold else figure + latex_text(cell.mark))
        below.append(rf"{{\scriptsize {latex_text(cell.beside)}}}" if cell.beside else "")
    return [_tex_line(above), *([_tex_line(below)] if any(below) else [])]


def _tex_line(cells: Sequence[str]) -> str:
    # A cell in brackets would be read as an argument of the line before it.
    return " & ".join(f"{{}}{cell}" if cell.startswith("[") else cell for cell in cells) + r" \\"
