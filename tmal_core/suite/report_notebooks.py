"""Executed notebooks as parts of the report: text, code and outputs, each picture once in the whole page.

Not nbconvert's own page: its ids clash with those of another notebook, its tables and code cannot be scrolled by a
keyboard, and its pictures are far larger than they need to be. Its reading of Markdown is used.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.filters import ansi2html
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from PIL import Image
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

WIDGET = "application/vnd.jupyter.widget-view+json"
WIDGET_NOTE = "An interactive element: open this notebook in JupyterLab to use it."
DRAWN = 0.13
"""Bytes a pixel of a PNG below which it is drawn, not photographed, and smaller without loss than with it."""
_BAR = re.compile(r"\d+%\||\d+it \[")
_IDS = re.compile(r"""(<[a-zA-Z][^<>]*?)\s(?:id|name)=(?:"[^"]*"|'[^']*')""")
_TABLES = re.compile(r"<table.*?</table>", re.DOTALL)


@dataclass(frozen=True)
class Picture:
    """One picture in the page, or a word where it is."""

    anchor: str
    again: bool
    alt: str
    source: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Part:
    """Something below a cell, or the cell itself: `markup` is HTML."""

    kind: str
    markup: str = ""
    picture: Picture | None = None


@dataclass(frozen=True)
class Notebook:
    """One executed notebook."""

    anchor: str
    title: str
    file: str
    seconds: float
    parts: list[Part] = field(default_factory=list)


class Pictures:
    """Pictures of a page: each is taken in once, as WebP, and only pointed at when it comes again."""

    def __init__(self) -> None:
        self._known: dict[str, Picture] = {}

    def take(self, png: bytes, alt: str = "", size: tuple[int, int] | None = None) -> Picture:
        """A picture for the page.

        Args:
            png: the file, whose own description says what is to be seen.
            alt: for a picture without one.
            size: width and height to show it at; half its pixels by default.
        """
        digest = hashlib.sha256(png).hexdigest()[:16]
        if (known := self._known.get(digest)) is not None:
            return Picture(known.anchor, True, known.alt)
        image = Image.open(io.BytesIO(png))
        said = str(getattr(image, "text", {}).get("Description", "")) or alt
        width, height = size or (round(image.width / 2), round(image.height / 2))
        data = base64.b64encode(_webp(image, len(png))).decode()
        picture = Picture(
            f"picture-{len(self._known) + 1}", False, said, f"data:image/webp;base64,{data}", width, height
        )
        self._known[digest] = picture
        return picture


class Shown:
    """Turns executed notebooks into parts of a page.

    Args:
        pictures: of the whole page.
    """

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures
        self._markdown = MarkdownWithMath(renderer=_Renderer(escape=False, exclude_anchor_links=True))
        self._code, self._lexer = HtmlFormatter(nowrap=True), PythonLexer()

    def notebook(self, path: Path, seconds: float) -> Notebook:
        """One executed copy."""
        content = nbformat.read(path, as_version=4)
        title = f"{path.stem[:2]} · {path.stem[3:].replace('_', ' ').capitalize()}"
        made, heading = Notebook(path.stem, title, path.name, seconds), title
        for cell in content.cells:
            if cell.cell_type == "markdown":
                heading = _last_heading(cell.source) or heading
                made.parts.append(Part("text", self._text(cell.source, heading)))
            elif cell.cell_type == "code":
                made.parts.append(Part("code", highlight(cell.source, self._lexer, self._code).rstrip()))
                for output in cell.outputs:
                    made.parts.extend(self._output(output, heading))
        return made

    def _output(self, output: Any, heading: str) -> Iterator[Part]:
        if output.output_type == "stream":
            yield Part("stream", ansi2html(output.text.rstrip()))
        elif output.output_type == "error":
            yield Part("stream", ansi2html("\n".join(output.traceback)))
        elif output.output_type in ("display_data", "execute_result"):
            yield from self._shown(output.data, output.get("metadata", {}), heading)

    def _shown(self, data: dict[str, Any], metadata: dict[str, Any], heading: str) -> Iterator[Part]:
        """The richest form that a page without a kernel can show."""
        if "image/png" in data:
            about = metadata.get("image/png", metadata)
            size = (int(about["width"]), int(about["height"])) if {"width", "height"} <= about.keys() else None
            alt = about.get("alt") or f"A figure that is described by the text above it: {heading}."
            yield Part("picture", picture=self._pictures.take(base64.b64decode(data["image/png"]), alt, size))
        elif "text/html" in data:
            yield Part("markup", _in_regions(_plain(data["text/html"]), heading))
        elif "text/markdown" in data:
            yield Part("text", self._text(data["text/markdown"], heading))
        elif WIDGET in data:
            # A copy holds a bar as it appeared, at zero: worse than none.
            if not _BAR.search(data.get("text/plain", "")):
                yield Part("note", WIDGET_NOTE)
        elif "text/plain" in data:
            yield Part("stream", html.escape(data["text/plain"]))

    def _text(self, source: str, heading: str) -> str:
        return _in_regions(self._markdown.render(source), heading)


class _Renderer(IPythonRenderer):
    """Headings stand below the page's own, and have no ids: those of seven notebooks would clash."""

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        return f"<h{min(level + 2, 6)}>{text}</h{min(level + 2, 6)}>\n"

    def block_code(self, code: str, info: str | None = None) -> str:
        return f"<pre>{html.escape(code)}</pre>\n"


def _in_regions(markup: str, heading: str) -> str:
    """Without ids, and with every table in a region of its own that a keyboard can scroll."""
    region = f'<div class="scroll" role="region" tabindex="0" aria-label="table: {html.escape(heading, quote=True)}">'
    return _TABLES.sub(lambda table: f"{region}{table.group()}</div>", _IDS.sub(r"\1", markup))


def _plain(markup: str) -> str:
    """Without styles and scripts of its own: the page has a look, and runs what it was made with."""
    return re.sub(r"<(style|script)\b.*?</\1>", "", markup, flags=re.DOTALL)


def _last_heading(source: str) -> str:
    found = re.findall(r"^#+ +(.+)$", source, re.MULTILINE)
    return re.sub(r"[`*_]", "", found[-1]).strip() if found else ""


def _webp(image: Image.Image, png_size: int) -> bytes:
    file, drawn = io.BytesIO(), png_size < DRAWN * image.width * image.height
    flat = Image.new("RGB", image.size, "white")
    opaque = image.convert("RGBA")
    flat.paste(opaque, mask=opaque.getchannel("A"))
    options: dict[str, Any] = {"lossless": True, "method": 2} if drawn else {"quality": 90, "method": 4}
    flat.save(file, "WEBP", **options)
    return file.getvalue()
