"""What each learned branch adds to the tokens of a clip, by block.

Letters: T frames, R, K rows and columns of patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tmal_core.analysis.additions import Addition
from tmal_core.errors import DataError
from tmal_core.viz.style import CLASS_COLOURS, INK, styled, title_of

_LINES = tuple(zip(CLASS_COLOURS, ("o", "s", "^", "D"), strict=False))
"""Colour and mark of a branch."""


@styled
def additions_by_block(found: Sequence[Addition], title: str = "") -> Figure:
    """Length of what is added over the token's own, and its direction, by block: a line with a mark for each branch.

    Lines are means over frames and patches; bands of length lead from the smallest to the largest mean of a frame.

    Raises:
        DataError: nothing is added: the method has no such branch.
    """
    if not found:
        raise DataError("a method with adapters, flow or text in it", "one without", "Choose a trained method.")
    branches = list(dict.fromkeys(one.branch for one in found))
    figure = Figure(figsize=(8.6, 2.9), layout="constrained")
    sizes, directions = figure.subplots(1, 2)
    for branch, (colour, mark) in zip(branches, _LINES, strict=False):
        own = [one for one in found if one.branch == branch]
        blocks = [one.block for one in own]
        of_frames = 100 * np.array([one.size.mean((1, 2)).numpy() for one in own])
        style: dict[str, Any] = {"color": colour, "marker": mark, "markersize": 5, "linewidth": 1.6, "label": branch}
        sizes.fill_between(blocks, of_frames.min(1), of_frames.max(1), color=colour, alpha=0.18, linewidth=0)
        sizes.plot(blocks, of_frames.mean(1), **style)
        directions.plot(blocks, [one.direction.mean().item() for one in own], **style)
    ticks = sorted({one.block for one in found})
    sizes.set(xticks=ticks, xlabel="block", ylabel="added length, % of the token's", ylim=(0, None))
    directions.axhline(0, color=INK, linewidth=0.8)
    directions.set(xticks=ticks, xlabel="block", ylabel="cosine with the token", ylim=(-1.05, 1.05))
    for panel, words in ((sizes, "how much"), (directions, "1 longer, 0 turned, −1 shorter")):
        panel.set_title(words)
        panel.grid(axis="y")
    directions.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    title_of(figure, title, 10)
    return figure


def largest_additions(found: Sequence[Addition]) -> dict[str, np.ndarray]:
    """Branch and the block in which it adds most -> lengths (T, R, K), as maps for `explanation_strip`."""
    largest: dict[str, Addition] = {}
    for one in found:
        if one.branch not in largest or one.size.mean() > largest[one.branch].size.mean():
            largest[one.branch] = one
    return {f"{branch},\nblock {one.block}": one.size.numpy() for branch, one in largest.items()}


def additions_in_words(found: Sequence[Addition], title: str = "") -> str:
    """What `additions_by_block` shows."""
    parts = [
        f"{one.branch} at block {one.block} adds {100 * one.size.mean().item():.0f} % of a token's length, "
        f"cosine {one.direction.mean().item():+.2f}"
        for one in found
    ]
    return f"{title}. {'; '.join(parts)}."
