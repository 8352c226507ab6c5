"""What a study asks: the variants of TMAL, its rivals, and the questions that pairs of them answer.

TMAL was chosen in two steps, so its variants stand on two legs. What each part buys was asked of TMAL as it was first
(`EARLIER`), which compares frames both ways and knows nothing of its task. Then what might make it better was tried on
`val`, one seed each; the best four (`BEST`) were named before anybody asked `test`, and the first of them is TMAL now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

FULL, EARLIER = "tmal", "earlier"


class Variant(NamedTuple):
    """One way to put the parts together."""

    title: str
    method: str
    overrides: Mapping[str, Any] = {}  # dotted settings; what is not named is as the preset says


def _tmal(title: str, **parts: Any) -> Variant:
    """TMAL with these parts changed."""
    return Variant(title, "tmal", {f"model.{name}": value for name, value in parts.items()})


_EARLIER = {"model.centre": "both", "model.task_conditioned": False}
"""What TMAL as it was first has, and has not."""


def _earlier(title: str, **parts: Any) -> Variant:
    """TMAL as it was first, with these parts changed."""
    return Variant(title, "tmal", {**_EARLIER, **_tmal(title, **parts).overrides})


_PLAIN = {"model.centre": "none", "model.smoothing": 0.5, "model.smoothing_unit": "absolute"}
_MATCHED = ("diagonal", "tuples", "otam+diagonal", "otam+tuples")
"""Matchers, and sums of them, that are tried in place of OTAM."""
VARIANTS = {
    "zero_shot": Variant("frozen CLIP, class names alone", "zero_shot"),
    "protonet": Variant("frozen CLIP, mean-pooled", "protonet"),
    "otam": Variant("frozen CLIP, OTAM", "otam"),
    "otam_centred": Variant("frozen CLIP, OTAM on centred frames", "otam", {"model.centre": "clip"}),
    "otam_named": Variant("frozen CLIP, OTAM and class names", "otam", {"model.text_score": 0.5}),
    "otam_plain": Variant("frozen CLIP, OTAM as in CLIP-FSAR", "otam", _PLAIN),
    FULL: Variant("TMAL", "tmal"),
    # What each part of TMAL as it was first buys. `visual` has the same parts without text and flow, under the recipe
    # that is best for them.
    EARLIER: _earlier("TMAL as it was first"),
    "visual": Variant("visual only: temporal adapters", "st_adapter"),
    "with_text": _earlier("visual + text", flow_encoder="none"),
    "with_flow": _earlier("visual + flow", text=False, text_score=0.0),
    # What flow is worth above the same stem fed with the same two native frames.
    "differences": _earlier("differences in place of flow", flow_encoder="difference"),
    "no_adapters": _earlier("no temporal adapters", adapters="none"),
    "adapters_ffn": _earlier("one adapter per block", adapters="ffn"),
    "prototype": _earlier("fusion at prototypes only", fusion="prototype"),
    "token": _earlier("fusion at tokens only", fusion="token"),
    "flow_last": _earlier("flow at the last level", fusion_levels="last"),
    "flow_picture": _earlier("flow as a picture for CLIP", flow_encoder="clip"),
    "flow_coarse": Variant("flow by a coarser estimator", "tmal", {**_EARLIER, "flow.estimator": "dis_ultrafast"}),
    "bimhm": _earlier("matched as sets", matching="bimhm"),
    "mean": _tmal("mean-pooled", matching="mean"),  # of which neither a gate nor a task is a part
    # Its rivals, with as many counted operations of training.
    "trx": Variant("temporal adapters, TRX", "trx"),
    "ts_fsar": Variant("TS-FSAR", "ts_fsar"),
    "ts_fsar_silent": Variant("TS-FSAR, no names at test", "ts_fsar", {"model.ts_fsar.powers": [1.0, 0.0, 0.0]}),
    # What might make it better, one thing at a time.
    "gate": _earlier("a gate between frames and centred frames", centre="gate"),
    "task_conditioned": _earlier("matching that knows its task", task_conditioned=True),
    "temporal_attention": _earlier("temporal attention in the last two blocks", temporal_attention=2),
    "side": _earlier("a side network in place of temporal adapters", adapters="none", side_width=64),
    "ema": Variant("weights averaged over training", "tmal", {**_EARLIER, "training.ema": 0.95}),
    # Twice the frames, half the episodes: training counts as many operations.
    "frames_16": Variant(
        "16 frames",
        "tmal",
        {
            **_EARLIER,
            "sampling.num_frames": 16,
            "sampling.min_gap": 3,
            "training.episodes": 540,
        },
    ),
    **{name: _earlier(f"matched by {name}", matching=name) for name in _MATCHED},
    # What these said on val: a gate keeps order, a task and matching in step keep speed.
    "gate_diagonal": _earlier("a gate, matched by otam+diagonal", centre="gate", matching="otam+diagonal"),
    "gate_tuples": _earlier("a gate, matched by otam+tuples", centre="gate", matching="otam+tuples"),
    "task_diagonal": _earlier(
        "knows its task, matched by otam+diagonal", task_conditioned=True, matching="otam+diagonal"
    ),
    # A gate and a task together are TMAL now.
    "gate_task_diagonal": _tmal("TMAL, matched by otam+diagonal", matching="otam+diagonal"),
    "gate_task_attention": _tmal("TMAL, temporal attention in the last two blocks", temporal_attention=2),
}
"""Every variant by name; all but those of `FROZEN` are trained."""

FROZEN = ("zero_shot", "protonet", "otam", "otam_centred", "otam_named", "otam_plain")
BEST = (FULL, "gate_task_diagonal", "task_conditioned", "task_diagonal")
"""The best four of what had answered `val` when they were named, by the mean over families, in this order;
`gate_task_attention` answered later."""
RIVALS = ("ts_fsar",)
"""The best of them on `val`."""
NAMED = (*FROZEN, "visual", "with_text", "with_flow", "differences", EARLIER, *BEST, *RIVALS)
"""The variants that are asked on `test`, TMAL and what it is compared with; all but those of `FROZEN` are trained."""

QUESTIONS = {
    "What does each modality add?": ("visual", ("zero_shot", "with_text", "with_flow", EARLIER)),
    "What do temporal adapters add?": ("no_adapters", ("adapters_ffn", EARLIER)),
    "Where should modalities meet?": (EARLIER, ("prototype", "token", "flow_last")),
    "What should make and read the flow?": (EARLIER, ("differences", "flow_coarse", "flow_picture", "with_text")),
    "How should clips be matched?": (EARLIER, ("bimhm", "mean", *_MATCHED)),
    "What makes TMAL better?": (
        EARLIER,
        (
            *("gate", "task_conditioned", "temporal_attention", "side", "ema", "frames_16"),
            *("gate_diagonal", "gate_tuples", "task_diagonal", FULL, "gate_task_diagonal", "gate_task_attention"),
        ),
    ),
    "How far are the references?": (FULL, ("trx", "ts_fsar", "ts_fsar_silent")),
    "What do centring and a sharp softmin add?": ("otam_plain", ("otam", "otam_centred")),
    "What does learning add?": ("otam", ("protonet", "visual", FULL)),
    "What does learning add to frozen frames and names?": ("otam_named", ("zero_shot", FULL)),
    "What does learning add to centred frames?": ("otam_centred", ("visual", FULL)),
}
"""Question -> the variant to compare with, and those that are compared."""
