"""All explanations of a class for a query by name, as maps that can be compared and measured.

    occlusion, gradients, integrated gradients, tokens, likeness to the name, what branches add, attention

What each of them is stands in its own module. Here each becomes a map (T, R, K) of one input, frames or flow, in which
a higher value is more relevant. Letters: T frames, R rows and K columns of patches, L blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from tmal_core.analysis.additions import branch_additions
from tmal_core.analysis.attention_maps import capture_attention, class_token_maps, rollout
from tmal_core.analysis.deletion import Input
from tmal_core.analysis.named_patches import patch_text_similarity
from tmal_core.analysis.occlusion import patch_cost
from tmal_core.analysis.relevance import gradient_relevance, integrated_relevance, token_relevance
from tmal_core.analysis.target import Target, batch_of
from tmal_core.data.clips import Clip

_STEPS = 16  # of integrated gradients


@dataclass(frozen=True)
class Measure:
    """One kind of explanation."""

    of: Callable[[Target, Clip, Input], Tensor | None]
    """The map (T, R, K) of one input; None where the method has nothing to measure."""
    inputs: tuple[Input, ...] = ("frames", "flow")
    """Of what it makes maps."""
    knows_class: bool = True
    """Whether the map depends on the class that is explained."""


def explain(
    target: Target, clip: Clip, what: Input = "frames", measures: Iterable[str] | None = None
) -> dict[str, Tensor]:
    """Maps (T, R, K) of one input by measure, of all that make such maps and have something to measure.

    Raises:
        ValueError: there is no such measure, or the method reads no flow.
    """
    names = list(MEASURES if measures is None else measures)
    if unknown := [name for name in names if name not in MEASURES]:
        raise ValueError(f"expected measures among {', '.join(MEASURES)}, got {unknown[0]}")
    if what == "flow" and not target.model.reads_motion:
        raise ValueError("expected a method that reads flow where flow is explained, got one that reads none")
    maps = {name: MEASURES[name].of(target, clip, what) for name in names if what in MEASURES[name].inputs}
    return {name: found for name, found in maps.items() if found is not None}


def _gradients(target: Target, clip: Clip, what: Input) -> Tensor | None:
    return getattr(gradient_relevance(target, clip), what)


def _integrated(target: Target, clip: Clip, what: Input) -> Tensor | None:
    return getattr(integrated_relevance(target, clip, _STEPS), what)


def _first_tokens(target: Target, clip: Clip, _: Input) -> Tensor:
    return token_relevance(target, clip, 1)[:, 1:].unflatten(1, target.grid)


def _last_tokens(target: Target, clip: Clip, _: Input) -> Tensor:
    return token_relevance(target, clip, target.model.clip_encoder.depth)[:, 1:].unflatten(1, target.grid)


def _like_the_name(target: Target, clip: Clip, _: Input) -> Tensor | None:
    """How much more a patch looks like the class's name than like the others' on average."""
    if target.text is None:
        return None
    similarity = patch_text_similarity(target.model, clip, target.text)
    others = [label for label in range(similarity.shape[-1]) if label != target.label]
    return similarity[..., target.label] - similarity[..., others].mean(-1)


def _added(target: Target, clip: Clip, what: Input) -> Tensor | None:
    """Length of what adapters, or the flow branch, add to a token over its own, mean over blocks and places."""
    branch = "adapter" if what == "frames" else "flow"
    sizes = [one.size for one in branch_additions(target.model, clip) if one.branch.startswith(branch)]
    return torch.stack(sizes).mean(0) if sizes else None


def _rolled_out(target: Target, clip: Clip, _: Input) -> Tensor:
    return class_token_maps(rollout(_attention(target, clip)), target.grid)


def _last_attention(target: Target, clip: Clip, _: Input) -> Tensor:
    return class_token_maps(_attention(target, clip)[:, -1], target.grid)


def _attention(target: Target, clip: Clip) -> Tensor:
    """(T, L, 1 + P, 1 + P)"""
    return capture_attention(target.model, *batch_of(target.model, clip))[0]


MEASURES: dict[str, Measure] = {
    "occlusion": Measure(patch_cost),
    "integrated gradients": Measure(_integrated),
    "gradient × input": Measure(_gradients),
    "tokens of the first block": Measure(_first_tokens, ("frames",)),
    "tokens of the last block": Measure(_last_tokens, ("frames",)),
    "likeness to the name": Measure(_like_the_name, ("frames",)),
    "size of what is added": Measure(_added, knows_class=False),
    "attention rollout": Measure(_rolled_out, ("frames",), knows_class=False),
    "attention of the last block": Measure(_last_attention, ("frames",), knows_class=False),
}
"""By name, in the order in which they are told. Tokens are gradient times activation, what is added is that of adapters
in frames and of the flow branch in flow."""
