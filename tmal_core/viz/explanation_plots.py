"""Explanations over the frames of a clip: maps of patches, and what whole frames cost.

Each figure comes with its content in words, for whoever does not see it. Letters: T frames, H, W pixels, R, K rows and
columns of patches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from tmal_core.errors import DataError
from tmal_core.viz.style import ACCENT, INK, SOFT, colour_bar, picture_axes, styled, title_of

_CELL = 1.0  # inches of one frame
_LUMA = np.array([0.299, 0.587, 0.114])
_FOR, _AGAINST = np.array([1.0, 0.62, 0.1]), np.array([0.55, 0.38, 1.0])
_SCALE = LinearSegmentedColormap.from_list("against and for", [tuple(_AGAINST), (0.35, 0.35, 0.35), tuple(_FOR)])
_FAILS = " (fails)"


@styled
def explanation_strip(
    pictures: np.ndarray,
    maps: Mapping[str, np.ndarray],
    positions: Sequence[int],
    title: str = "",
    scale: str = "against the class · for it",
) -> Figure:
    """A clip over time, and below it its frames under each map. Every row has a scale of its own, up to its highest.

    Orange speaks for the class, violet against it; a map that knows no "against" has orange alone.

    Args:
        pictures: (T, H, W, 3) uint8, what was explained: frames, or flow as colours.
        maps: title of a row -> (T, R, K).
        positions: (T,) native frame numbers.
        scale: what the colours say; they begin at zero where no map goes below.

    Raises:
        DataError: no maps, or one for another number of frames.
    """
    if not maps or any(len(each) != len(pictures) for each in maps.values()):
        got = ", ".join(f"{len(each)} of '{name}'" for name, each in maps.items()) or "none"
        raise DataError(f"maps of {len(pictures)} frames", got, "Pass one map per frame and row.")
    count, width = len(pictures), pictures.shape[2]
    size = (_CELL * count + 2.6, _CELL * (1 + len(maps)) + 0.5)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.01, hspace=0))
    panels = figure.subplots(1 + len(maps), 1, squeeze=False)[:, 0]
    rows = {"": pictures, **{name: overlaid(pictures, each) for name, each in maps.items()}}
    for panel, (name, row) in zip(panels, rows.items(), strict=True):
        picture_axes(panel).imshow(_side_by_side(row))
        panel.spines[:].set_visible(False)
        weight = "normal" if name.endswith(_FAILS) else "bold"
        label: dict[str, Any] = {
            "rotation": 0,
            "ha": "right",
            "va": "center",
            "color": INK,
            "fontsize": 8.5,
            "fontweight": weight,
        }
        panel.set_ylabel(name.replace(_FAILS, "\nfails"), **label)
    top = panels[0].secondary_xaxis("top")
    top.set_xticks(
        [(width + _gap(width)) * t + width / 2 for t in range(count)], [f"frame {int(p)}" for p in positions]
    )
    top.tick_params(labelsize=7.5, length=0)
    top.spines[:].set_visible(False)
    colours, signed = ScalarMappable(Normalize(-1, 1), _SCALE), any((each < 0).any() for each in maps.values())
    place: dict[str, Any] = {"ax": panels.tolist(), "aspect": 30, "pad": 0.02}
    colour_bar(figure, colours, f"{scale}, × highest of the row", **place)
    figure.axes[-1].set_ylim(-1 if signed else 0, 1)
    title_of(figure, title, 10)
    return figure


def overlaid(pictures: np.ndarray, each: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) uint8: pictures in grey under a map (T, R, K), relative to its highest value.

    Patches as they are, not smoothed: a map knows one number of each. Where it says nothing the grey stays.
    """
    _, height, width, _ = pictures.shape
    relative = each / max(float(np.abs(each).max()), np.finfo(float).tiny)
    whole = relative.repeat(-(-height // each.shape[1]), 1).repeat(-(-width // each.shape[2]), 2)[:, :height, :width]
    colours = np.where(whole[..., None] > 0, _FOR, _AGAINST)
    share = 0.85 * np.abs(whole)[..., None]
    grey = (pictures @ _LUMA / 255)[..., None]
    return np.rint(255 * (share * colours + (1 - share) * grey)).astype(np.uint8)


def _gap(width: int) -> int:
    """Pixels between two frames."""
    return max(1, width // 24)


def _side_by_side(pictures: np.ndarray) -> np.ndarray:
    """(H, W', 3) with white between."""
    height, width = pictures.shape[1:3]
    white = np.full((height, _gap(width), 3), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, white)][:-1], axis=1)


def with_verdicts(maps: Mapping[str, np.ndarray], passes: Mapping[str, bool]) -> dict[str, np.ndarray]:
    """Maps for `explanation_strip`, those that are known to fail last, and called so."""
    named = {name: name if passes.get(name, True) else name + _FAILS for name in maps}
    return {named[name]: maps[name] for name in sorted(maps, key=lambda name: named[name].endswith(_FAILS))}


def strip_in_words(maps: Mapping[str, np.ndarray], positions: Sequence[int], title: str = "") -> str:
    """What `explanation_strip` shows: where each map is highest."""
    lines = []
    for name, each in maps.items():
        t, row, column = map(int, np.unravel_index(np.argmax(each), each.shape))
        lines.append(
            f"{' '.join(name.split())}: highest in frame {positions[t]}, patch row {row + 1}, column {column + 1}"
        )
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
