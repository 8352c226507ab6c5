"""Does a map name what an answer rests on? What is relevant is taken away, or brought in, first.

Deletion and insertion curves: Petsiuk, Das and Saenko, RISE, BMVC 2018, section 4.3. Here they are of patches over
space and time, or of whole frames by the sum of their patches. What stands in for a patch is what occlusion covers it
with: CLIP's mean colour in frames, rest in flow. The other of the two stays as it is.

A map that names what counts makes the probability fall soon in deletion and rise soon in insertion: the area under the
first curve is small, under the second large. Both are held against a random order and one from the centre outwards.

Letters: n variants, M maps, s shares, T frames, C crop in pixels, R rows and K columns of patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tmal_core.analysis.target import Target
from tmal_core.data.clips import Clip, stacked

Input = Literal["frames", "flow"]
Units = Literal["patches", "frames"]
_CENTRE_WIDTH = 0.5  # of the bell around the centre, as a share of half of the picture and of half of the clip


class Curves(NamedTuple):
    """The class's probability where a share of a clip is taken away, or is all that there is."""

    shares: np.ndarray
    """(s,) from 0 to 1."""
    deletion: np.ndarray
    """(M, s): all of the clip at share 0, nothing at 1."""
    insertion: np.ndarray
    """(M, s): nothing at share 0, all of it at 1."""

    @property
    def areas(self) -> tuple[np.ndarray, np.ndarray]:
        """(M,) and (M,): the mean probability over all shares, of deletion and of insertion."""
        return np.trapezoid(self.deletion, self.shares), np.trapezoid(self.insertion, self.shares)


def curves(
    target: Target,
    clip: Clip,
    maps: Sequence[Tensor],
    what: Input,
    rng: np.random.Generator,
    steps: int = 8,
    units: Units = "patches",
) -> Curves:
    """Both curves of some maps of a clip.

    Args:
        clip: of the query: (T, 3, C, C), and (T, 2, C, C) flow where it is read.
        maps: (T, R, K) each; the highest value goes first.
        what: is taken away.
        rng: puts equal values in an order.
        steps: of one share each.
        units: patches one by one, or whole frames.

    Raises:
        ValueError: flow is to be taken away and there is none, a map is of another size, or there is no step.
    """
    size = (len(clip.frames), *target.grid)
    if what == "flow" and clip.flow_px is None:
        raise ValueError("expected a clip with flow where flow is to be taken away, got none")
    if wrong := [tuple(each.shape) for each in maps if tuple(each.shape) != size]:
        raise ValueError(f"expected maps {size}, got {wrong[0]}")
    if steps < 1:
        raise ValueError(f"expected at least 1 step, got {steps}")
    shares = np.arange(steps + 1) / steps
    first = [_places(each, rng, units) for each in maps]
    # The ends are the same for all maps: the clip itself, and nothing of it.
    kept = [torch.ones(size, dtype=torch.bool), torch.zeros(size, dtype=torch.bool)]
    for places in first:
        kept += [places >= share for share in shares[1:-1]]
        kept += [places < share for share in shares[1:-1]]
    found = target.probability(stacked([masked(clip, what, each) for each in kept])).numpy()
    inner = found[2:].reshape(len(maps), 2, steps - 1)
    whole, nothing = np.full((len(maps), 1), found[0]), np.full((len(maps), 1), found[1])
    deletion = np.concatenate([whole, inner[:, 0], nothing], 1)
    return Curves(shares, deletion, np.concatenate([nothing, inner[:, 1], whole], 1))


def masked(clip: Clip, what: Input, kept: Tensor) -> Clip:
    """The clip with all patches covered that are not in `kept` (T, R, K) bool."""
    frames, flow_px = clip
    sides = [frames.shape[-2] // kept.shape[1], frames.shape[-1] // kept.shape[2]]
    pixels = kept[:, None].repeat_interleave(sides[0], 2).repeat_interleave(sides[1], 3)
    if what == "frames":
        return Clip(frames * pixels, flow_px)
    assert flow_px is not None
    return Clip(frames, flow_px * pixels)


def random_map(size: tuple[int, int, int], rng: np.random.Generator) -> Tensor:
    """(T, R, K) that knows nothing."""
    return torch.from_numpy(rng.random(size))


def centre_map(size: tuple[int, int, int]) -> Tensor:
    """(T, R, K), highest in the middle of the picture and of the clip: where most of what is filmed is anyway."""
    axes = [(torch.arange(n) + 0.5) / n * 2 - 1 for n in size]
    t, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.exp(-(t**2 + y**2 + x**2) / (2 * _CENTRE_WIDTH**2))


def _places(scores: Tensor, rng: np.random.Generator, units: Units) -> Tensor:
    """(T, R, K) in 0..1: the share of a clip that goes before each patch."""
    values = scores.double().numpy()
    if units == "frames":
        values = values.sum((1, 2), keepdims=True)
    flat = values.ravel()
    order = np.lexsort([rng.random(len(flat)), -flat])
    places = np.empty(len(flat))
    places[order] = np.arange(len(flat)) / len(flat)
    return torch.from_numpy(np.broadcast_to(places.reshape(values.shape), tuple(scores.shape)).copy())
