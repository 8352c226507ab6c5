"""Is an explanation true to the method? Each map of a clip is measured, and what is found summed up over clips.

Three questions, each with a module of its own: does the answer fall when what the map names is taken away (`deletion`),
does the map lie on the object (`object_share`), and does it depend on what was learned (`weights_anew`). All maps are
measured on the same clips, so differences are paired; means have the intervals of `evaluation.statistics`, over classes
or their groups.

Letters: M maps, s shares, T frames, R rows and K columns of patches, U units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from torch import Tensor

from tmal_core.analysis.deletion import Input, centre_map, curves, random_map
from tmal_core.analysis.measures import explain
from tmal_core.analysis.object_share import share_on_object
from tmal_core.analysis.target import Target
from tmal_core.analysis.weights_anew import Which, rank_correlation
from tmal_core.data.clips import Clip
from tmal_core.evaluation.statistics import ByUnit, interval
from tmal_core.runtime.seeding import generator

RANDOM, CENTRE = "random order", "from the centre outwards"
"""Maps that know nothing, which the others are held against."""
STEPS, FRAME_STEPS = 8, 4
"""Shares of patches, and of whole frames, that are taken away one after the other."""
DELETION, INSERTION = "deletion", "insertion"
BELOW_RANDOM, BELOW_CENTRE = "deletion, less random", "deletion, less centre"
ABOVE_RANDOM, ABOVE_CENTRE = "insertion, less random", "insertion, less centre"
FRAMES_BELOW_RANDOM, FRAMES_ABOVE_RANDOM = "deletion of frames, less random", "insertion of frames, less random"
ON_OBJECT, TIMES_AREA, MOST_TIMES_AREA = "on the object", "on the object, times its area", "most times its area"
ANEW: dict[Which, str] = {
    "trained": "rank correlation, trained parts anew",
    "all": "rank correlation, all weights anew",
}
UNITS = {
    **dict.fromkeys((DELETION, INSERTION, ON_OBJECT), "%"),
    **dict.fromkeys((BELOW_RANDOM, BELOW_CENTRE, ABOVE_RANDOM, ABOVE_CENTRE), "points"),
    **dict.fromkeys((FRAMES_BELOW_RANDOM, FRAMES_ABOVE_RANDOM), "points"),
    **dict.fromkeys((TIMES_AREA, MOST_TIMES_AREA), "times"),
    **dict.fromkeys(ANEW.values(), "correlation"),
}
"""What is measured, and in what. Deletion and insertion are areas under curves: mean probabilities of the class over
all shares, in percent; the others are differences of areas on the same clips in points."""


@dataclass(frozen=True)
class Explained:
    """A clip whose answer is explained."""

    target: Target
    clip: Clip
    coverage: Tensor
    """(T, R, K), how much of each patch the object covers."""
    anew: Mapping[Which, Target] = field(default_factory=dict)
    """The same class of the same question under weights in random order."""

    @property
    def size(self) -> tuple[int, int, int]:
        """(T, R, K)"""
        return len(self.coverage), *self.target.grid


def measure_clip(explained: Explained, what: Input, rng: np.random.Generator) -> pd.DataFrame:
    """All measures of one clip and input, and the two that know nothing.

    Args:
        rng: of the random order, and of what comes first among equals.

    Returns:
        Columns `measure`, `quantity`, `value`, `per` (1, or what a ratio's mean is divided by) and `curve`: of deletion
        and insertion the points, (s,) in percent.
    """
    target, clip, size = explained.target, explained.clip, explained.size
    blind = {RANDOM: random_map(size, rng), CENTRE: centre_map(size)}
    maps = {**explain(target, clip, what), **blind}
    rows = _curve_rows(target, clip, maps, what, rng)
    for name, each in maps.items():
        share = share_on_object(each, explained.coverage)
        rows += [(name, ON_OBJECT, 100 * share.relevance, 1.0, None)]
        rows += [(name, TIMES_AREA, share.relevance, share.area, None)]
        rows += [(name, MOST_TIMES_AREA, share.most, share.area, None)]
    for which, other in explained.anew.items():
        for name, each in explain(other, clip, what).items():
            rows.append((name, ANEW[which], rank_correlation(maps[name], each), 1.0, None))
    return pd.DataFrame(rows, columns=["measure", "quantity", "value", "per", "curve"])


def _curve_rows(
    target: Target, clip: Clip, maps: Mapping[str, Tensor], what: Input, rng: np.random.Generator
) -> list[tuple]:
    names, rows = list(maps), []
    patches = curves(target, clip, list(maps.values()), what, rng, STEPS)
    frames = curves(target, clip, list(maps.values()), what, rng, FRAME_STEPS, "frames")
    deletion, insertion = (dict(zip(names, 100 * area, strict=True)) for area in patches.areas)
    frames_out, frames_in = (dict(zip(names, 100 * area, strict=True)) for area in frames.areas)
    for number, name in enumerate(names):
        rows.append((name, DELETION, deletion[name], 1.0, 100 * patches.deletion[number]))
        rows.append((name, INSERTION, insertion[name], 1.0, 100 * patches.insertion[number]))
        if name in (RANDOM, CENTRE):
            continue
        differences = {
            BELOW_RANDOM: deletion[name] - deletion[RANDOM],
            BELOW_CENTRE: deletion[name] - deletion[CENTRE],
            ABOVE_RANDOM: insertion[name] - insertion[RANDOM],
            ABOVE_CENTRE: insertion[name] - insertion[CENTRE],
            FRAMES_BELOW_RANDOM: frames_out[name] - frames_out[RANDOM],
            FRAMES_ABOVE_RANDOM: frames_in[name] - frames_in[RANDOM],
        }
        rows += [(name, quantity, value, 1.0, None) for quantity, value in differences.items()]
    return rows


def summed_up(found: pd.DataFrame, seed: int, resamples: int, confidence: float) -> pd.DataFrame:
    """Means over clips with their intervals.

    Args:
        found: rows of `measure_clip` of all clips, with columns `family`, `input`, `clip` and `unit` (a clip's class,
            or the group of it).
        seed, resamples, confidence: of the intervals.

    Returns:
        One row per family, input, measure and quantity, in the order in which they come: `unit` of the numbers, `mean`,
        `low`, `high`, `p_value` of a difference, `clips`, and `curve_pct`, the points of a mean curve as text.
    """
    keys = ["family", "input", "measure", "quantity"]
    rows = []
    for names, part in found.groupby(keys, sort=False):
        _, codes = np.unique(part["unit"].to_numpy(str), return_inverse=True)
        # Of a ratio the sums and what they are divided by are resampled together. Percent, as `interval` has it.
        scale = 1.0 if UNITS[names[-1]] in ("%", "points") else 100.0
        sums, per = (np.bincount(codes, part[column].to_numpy(float)) for column in ("value", "per"))
        mean = interval(ByUnit(scale * sums[None], per), generator(seed, "faithfulness", *names), resamples, confidence)
        differs = UNITS[names[-1]] == "points"
        numbers = {"mean": mean.mean / scale, "low": mean.low / scale, "high": mean.high / scale}
        if len(per) == 1:  # of a single class nothing is known about others
            numbers |= {"low": np.nan, "high": np.nan}
        numbers["p_value"] = mean.p_value if differs else np.nan
        curve = part["curve"].dropna()
        points = " ".join(f"{point:.1f}" for point in np.stack(list(curve)).mean(0)) if len(curve) else ""
        rounded = {name: round(number, 4) for name, number in numbers.items()}
        rows.append(dict(zip(keys, names, strict=True)) | {"unit": UNITS[names[-1]], **rounded})
        rows[-1] |= {"clips": part["clip"].nunique(), "curve_pct": points}
    return pd.DataFrame(rows)


def curve_points(cells: Iterable[str]) -> np.ndarray:
    """(M, s) percent, of cells of `curve_pct`."""
    return np.array([[float(point) for point in cell.split()] for cell in cells])
