"""Explanations over the frames of a clip: maps of patches, and what whole frames cost.

Each figure comes with its content in words, for whoever does not see it. Letters: T frames, H, W pixels, R, K rows and
columns of patches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from tmal_core.errors import DataError
from tmal_core.viz.style import ACCENT, INK, SOFT, colour_bar, picture_axes, styled, title_of

_CELL = 1.0  # inches of one frame
_LUMA = np.array([0.299, 0.587, 0.114])
_COLOURS = "PuOr_r"
_FAILS = " (fails)"


@styled
def explanation_strip(
    pictures: np.ndarray, maps: Mapping[str, np.ndarray], positions: Sequence[int], title: str = ""
) -> Figure:
    """A clip over time, and below it its frames under each map. Every row has a scale of its own, up to its highest.

    Orange speaks for the class, violet against it; a map that knows no "against" has orange alone.

    Args:
        pictures: (T, H, W, 3) uint8, what was explained: frames, or flow as colours.
        maps: title of a row -> (T, R, K).
        positions: (T,) native frame numbers.

    Raises:
        DataError: no maps, or one for another number of frames.
    """
    if not maps or any(len(each) != len(pictures) for each in maps.values()):
        got = ", ".join(f"{len(each)} of '{name}'" for name, each in maps.items()) or "none"
        raise DataError(f"maps of {len(pictures)} frames", got, "Pass one map per frame and row.")
    count = len(pictures)
    size = (_CELL * count + 2.6, (_CELL + 0.06) * (1 + len(maps)) + 0.4)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(wspace=0.02, hspace=0.02))
    cells = figure.subplots(1 + len(maps), count, squeeze=False)
    height, width = pictures.shape[1:3]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    for t, cell in enumerate(cells[0]):
        picture_axes(cell).imshow(pictures[t])
        cell.set_title(f"frame {int(positions[t])}", fontsize=7.5, color=SOFT, fontweight="normal", loc="center")
    for row, each in zip(cells[1:], maps.values(), strict=True):
        relative = each / max(float(np.abs(each).max()), np.finfo(float).tiny)
        for t, cell in enumerate(row):
            # Grey, so that the map alone has colour, and patches as they are: a map knows one number of each.
            picture_axes(cell).imshow(pictures[t] @ _LUMA, cmap="gray", vmin=0, vmax=255)
            alpha = 0.15 + 0.7 * np.abs(relative[t])
            cell.imshow(relative[t], cmap=_COLOURS, vmin=-1, vmax=1, alpha=alpha, extent=extent)
    for cell, name in zip(cells[:, 0], ["", *maps], strict=True):
        weight = "normal" if name.endswith(_FAILS) else "bold"
        label = name.replace(_FAILS, "\nfails")
        cell.set_ylabel(label, rotation=0, ha="right", va="center", color=INK, fontsize=8.5, fontweight=weight)
    scale = ScalarMappable(Normalize(-1, 1), _COLOURS)
    colour_bar(
        figure, scale, "against the class · for it, × highest of the row", ax=cells[:, -1].tolist(), aspect=30, pad=0.03
    )
    title_of(figure, title, 10)
    return figure


def with_verdicts(maps: Mapping[str, np.ndarray], passes: Mapping[str, bool]) -> dict[str, np.ndarray]:
    """Maps for `explanation_strip`, those that are known to fail last, and called so."""
    named = {name: name if passes.get(name, True) else name + _FAILS for name in maps}
    return {named[name]: maps[name] for name in sorted(maps, key=lambda name: named[name].endswith(_FAILS))}


def strip_in_words(maps: Mapping[str, np.ndarray], positions: Sequence[int], title: str = "") -> str:
    """What `explanation_strip` shows: where each map is highest."""
    lines = []
    for name, each in maps.items():
        t, row, column = np.unravel_index(int(np.argmax(each)), each.shape)
        lines.append(f"{name}: highest in frame {int(positions[t])}, patch row {row + 1}, column {column + 1}")
    rows, columns = next(iter(maps.values())).shape[1:]
    return f"{title}. {len(positions)} frames under maps of {rows} by {columns} patches. {'; '.join(lines)}."


@styled
def frame_costs(costs: Mapping[str, np.ndarray], positions: Sequence[int], title: str = "") -> Figure:
    """What of the class's probability is lost with each frame, a panel per input that was covered.

    Costs are name -> (T,) in -1..1; below zero the class becomes more probable without the frame.
    """
    figure = Figure(figsize=(3.2 * len(costs) + 0.6, 2.3), layout="constrained")
    panels = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    for panel, (name, each) in zip(panels, costs.items(), strict=True):
        points = 100 * np.asarray(each)
        panel.bar(range(len(points)), points, color=[ACCENT if point >= 0 else SOFT for point in points], width=0.7)
        panel.axhline(0, color=INK, linewidth=0.8)
        panel.set_xticks(range(len(points)), [int(position) for position in positions])
        panel.set(title=name, xlabel="frame that is covered")
        panel.grid(axis="y")
    panels[0].set_ylabel("lost probability, points")
    title_of(figure, title, 10)
    return figure


def costs_in_words(costs: Mapping[str, np.ndarray], positions: Sequence[int], title: str = "") -> str:
    """What `frame_costs` shows."""
    parts = []
    for name, each in costs.items():
        worst = int(np.argmax(each))
        parts.append(f"without {name} frame {int(positions[worst])} costs most, {100 * each[worst]:.1f} points")
    return f"{title}. Bars by frame: {'; '.join(parts)}."
