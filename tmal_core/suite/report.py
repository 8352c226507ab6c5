"""The report: one page with the result tables, the figures, every executed notebook and the settings.

The page needs no network and no other file, so it can be mailed or opened with `file://`. Tables come from
`<run>/tables/*.csv`, figures from `<run>/figures/*.png`. Widgets need a kernel: the page says so in their place.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template

import nbformat
import pandas as pd
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter

from tmal_core.config import Settings, settings_hash
from tmal_core.errors import RunError
from tmal_core.evaluation.ledger import looks
from tmal_core.runtime.files import atomic_path
from tmal_core.runtime.run_folders import Run

MAX_ROWS = 200
RESULT = "results"
"""Name of the table that the report opens with."""
WIDGET = "application/vnd.jupyter.widget-view+json"
WIDGET_NOTE = '<p class="note">An interactive element: open this notebook in JupyterLab to use it.</p>'


def write_report(out: Path, settings: Settings, seconds: Mapping[Path, float]) -> Path:
    """Write `<out>/report.html` from what the suite's run folder holds.

    Args:
        seconds: the executed copies in order, with the time each took.

    Raises:
        RunError: a table that cannot be read.
        DataError: the ledger of looks at the test split is broken.
    """
    record = Run.open(out).record
    notebooks = [_notebook(path, duration) for path, duration in seconds.items()]
    # The result first and open; what the other notebooks left, folded behind it.
    paths = sorted((out / "tables").glob("*.csv"), key=lambda path: (path.stem != RESULT, path.name))
    tables = "".join(_table_section(path) for path in paths)
    figures = "".join(_figure(path) for path in sorted((out / "figures").glob("*.png")))
    commit = (record["commit"] or "no checkout")[:12] + (", with changes" if record["dirty"] else "")
    lead = (
        f"preset <b>{html.escape(settings.preset)}</b> · seed <b>{settings.seed}</b> · "
        f"settings <code>{settings_hash(settings)}</code> · commit <code>{commit}</code> · "
        f"{record['updated'][:16].replace('T', ' ')} UTC · {_duration(sum(seconds.values()))} in notebooks · "
        f"looks at test so far: <b>{len(looks(settings.data.folder))}</b>"
    )
    template = Path(__file__).with_name("report_template.html").read_text(encoding="utf-8")
    page = Template(template).substitute(
        title=f"Suite report, {html.escape(settings.preset)}, seed {settings.seed}",
        highlight=HtmlFormatter(style="default").get_style_defs(".highlight").replace("background: #f8f8f8;", ""),
        lead=lead,
        tables=tables or "<p class='note'>No notebook left a table.</p>",
        figures=figures,
        notebooks="".join(notebooks),
        settings=_settings(settings),
        environment=_pairs(record["environment"]),
    )
    with atomic_path(out / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out / "report.html"


def _notebook(path: Path, seconds: float) -> str:
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        for output in list(cell.outputs):
            data = output.get("data", {})
            data.pop("application/javascript", None)
            if data.pop(WIDGET, None):
                data.setdefault("text/html", WIDGET_NOTE)
                if re.search(r"\d+%\||\d+it \[", data.get("text/plain", "")):
                    cell.outputs.remove(output)  # a copy holds a bar as it appeared, at zero: worse than none
    page, _ = HTMLExporter(template_name="basic", exclude_anchor_links=True).from_notebook_node(notebook)
    # Headings of seven notebooks share one page: their ids would clash with each other and with the page's own.
    page = re.sub(r'(<h[1-6]) id="[^"]*"', r"\1", page)
    title = html.escape(f"{path.stem[:2]} · {path.stem[3:].replace('_', ' ').capitalize()}")
    return (
        f"<details class='notebook' id='{path.stem}'><summary>{title}"
        f"<span class='seconds'>{_duration(seconds)}</span></summary><div class='pages'>{page}</div></details>\n"
    )


def _table_section(path: Path) -> str:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        got = f"{path}: {' '.join(str(error).split())}"
        raise RunError("a readable CSV table", got, "Remove the file, or run its notebook again.") from error
    head, columns = "", []
    for name in table:
        numbers = pd.to_numeric(table[name], errors="coerce")
        kind = " class='number'" if len(table) and numbers.notna().all() else ""
        texts = _shortened(table[name].tolist(), numbers.abs().max()) if kind else table[name].map(html.escape)
        head += f"<th{kind}>{html.escape(name)}</th>"
        columns.append([f"<td{kind}>{text}</td>" for text in texts[:MAX_ROWS]])
    rows = "".join(f"<tr>{''.join(cells)}</tr>" for cells in zip(*columns, strict=True))
    more = f"<p class='note'>The first {MAX_ROWS} of {len(table)} rows.</p>" if len(table) > MAX_ROWS else ""
    shown = " open" if path.stem == RESULT else ""
    return (
        f"<details{shown}><summary>{html.escape(path.name)}</summary><div class='scroll'><table>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{more}</details>\n"
    )


def _shortened(texts: list[str], largest: float) -> list[str]:
    """Long fractions are shortened for the eye, all of a column alike; the CSV keeps every digit."""
    if all(len(text.partition(".")[2]) <= 4 for text in texts):
        return [html.escape(text) for text in texts]
    return [f"{float(text):.2f}" if largest >= 1 else f"{float(text):.4g}" for text in texts]


def _figure(path: Path) -> str:
    name, data = html.escape(path.name), base64.b64encode(path.read_bytes()).decode()
    return f"<figure><img alt='{name}' src='data:image/png;base64,{data}'><figcaption>{name}</figcaption></figure>\n"


def _settings(settings: Settings) -> str:
    tree = settings.model_dump(mode="json")
    loose = {key: value for key, value in tree.items() if not isinstance(value, dict)}
    sections = {"general": loose, **{key: value for key, value in tree.items() if isinstance(value, dict)}}
    blocks = "".join(f"<div><h3>{html.escape(name)}</h3>{_pairs(pairs)}</div>" for name, pairs in sections.items())
    return f"<div class='columns'>{blocks}</div>"


def _pairs(pairs: Mapping[str, object]) -> str:
    rows = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(str(v))}</td></tr>" for k, v in pairs.items())
    return f"<table><tbody>{rows}</tbody></table>"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{int(seconds // 60)} min {int(seconds % 60)} s"
