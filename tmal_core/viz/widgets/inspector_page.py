"""What a method made of an episode, as a piece of HTML: moving clips at the edges of the table of distances.

Letters: N way, K shot, Q queries per class.
"""

from __future__ import annotations

import html
from collections.abc import Callable

import numpy as np

from tmal_core.analysis.inspection import EpisodeResult
from tmal_core.data.sets.catalog import Catalog

STYLE = """<style>
.tmal-episode { border-collapse: separate; border-spacing: 3px; background: #fff; color: #1d2733; font-size: 13px; }
.tmal-episode th, .tmal-episode td { padding: 4px; text-align: center; vertical-align: middle; line-height: 1.35; }
.tmal-episode th { font-weight: 600; max-width: 150px; white-space: normal; background: #fff; }
.tmal-episode td.distance { font-variant-numeric: tabular-nums; min-width: 64px; }
.tmal-episode td.chosen { outline: 2px solid #1d2733; outline-offset: -2px; font-weight: 600; }
.tmal-episode td.right, .tmal-episode td.wrong { text-align: left; font-weight: 600; max-width: 190px; }
.tmal-episode td.right { color: #3a7d44; } .tmal-episode td.wrong { color: #c8553d; }
.tmal-episode img { width: 96px; display: block; margin: 0 auto; border-radius: 3px; }
.tmal-episode .soft { color: #66717f; font-weight: 400; }
</style>"""


def episode_page(result: EpisodeResult, catalog: Catalog, picture: Callable[[int], str]) -> str:
    """The episode as HTML.

    Args:
        result: of `evaluate_episode`.
        catalog: the split whose rows the episode names.
        picture: row of the catalogue -> address of an <img>.

    Returns:
        Support clips as columns, queries as rows, their distances where they cross (dark is near, scaled within the
        row), the prediction at the right.
    """
    question = result.question
    shot = question.support.shape[1]
    names = [html.escape(name) for name in question.classes]

    def clip(row: int) -> str:
        video = html.escape(str(catalog.table["video"].iat[row]), quote=True)
        return f'<img src="{picture(row)}" title="{video}" alt="{video}">'

    classes = "".join(f'<th colspan="{shot}">{name}</th>' for name in names)
    supports = "".join(f"<td>{clip(int(row))}</td>" for row in question.support.flat)
    lines = [f'<tr><th class="soft">query ↓ &nbsp; support →</th>{classes}<th class="soft">predicted</th></tr>']
    lines.append(f"<tr><th></th>{supports}<td></td></tr>")
    shades = _shades(result.nearness)
    for i, row in enumerate(question.query.flat):
        guess = int(result.predicted[i])
        cells = "".join(
            f'<td class="distance{" chosen" if j // shot == guess else ""}" style="{shades[i][j]}">{value:.3f}</td>'
            for j, value in enumerate(result.distances[i])
        )
        kind, mark = ("right", "✓") if result.correct[i] else ("wrong", "✗")
        chance = f'<span class="soft">p = {result.probabilities[i, guess]:.2f}</span>'
        verdict = f'<td class="{kind}">{mark} {names[guess]}<br>{chance}</td>'
        lines.append(f"<tr><th>{clip(int(row))}{names[question.labels[i]]}</th>{cells}{verdict}</tr>")
    return f'{STYLE}<table class="tmal-episode">{"".join(lines)}</table>'


def _shades(nearness: np.ndarray) -> list[list[str]]:
    """CSS of each cell: from white (the farthest of its row) to dark violet (the nearest)."""
    white, dark = np.array([245, 247, 250]), np.array([110, 52, 140])
    colours = np.rint(white + nearness[..., None] * (dark - white)).astype(int)
    text = np.where(nearness > 0.55, "#fff", "#1d2733")
    pairs = zip(colours, text, strict=True)
    return [[f"background:rgb({r},{g},{b});color:{ink}" for (r, g, b), ink in zip(*row, strict=True)] for row in pairs]
