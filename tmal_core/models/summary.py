"""What of a model is learned and what is frozen: counts of parameters, and a fingerprint of the frozen ones."""

import hashlib

import pandas as pd
from torch import nn

_PARTS = {
    "encoder.clip.visual.": "CLIP, image tower",
    "encoder.clip.": "CLIP, text tower",
    "encoder.adapters.attention.": "temporal adapters before attention",
    "encoder.adapters.ffn.": "temporal adapters before FFN",
    "encoder.frame_attention.": "temporal attention of class tokens",
    "encoder.motion.": "motion encoder",
    "encoder.flow_fusion.": "visual-flow fusion of tokens",
    "encoder.text_fusion.": "visual-text fusion of tokens",
    "head.modulation.": "prototype modulation",
    "head.context2.": "prototype modulation",
    "head.conditioning.": "task-conditioned matching",
    "head.gate.": "gate of frames as they are and centred",
    "head.log_scale": "scale of distances",
    "head.log_text_scale": "scale of text similarities",
    "head.scale": "scale of text similarities",
}
"""Start of a parameter's name -> its part; the first that fits."""


def parameter_table(model: nn.Module) -> pd.DataFrame:
    """One row per part of the model: its parameters and how many of them training may change.

    Parts are CLIP's two towers, and what this package adds to it, each under the name that the papers give it.
    """
    rows = [
        {"part": _part(name), "parameters": p.numel(), "trained": p.numel() * p.requires_grad}
        for name, p in model.named_parameters()
    ]
    table = pd.DataFrame(rows).groupby("part", sort=False, as_index=False).sum()
    whole = pd.DataFrame([{"part": "whole model", **table.sum(numeric_only=True)}])
    return pd.concat([table, whole], ignore_index=True)


def _part(name: str) -> str:
    named = (part for start, part in _PARTS.items() if name.startswith(start))
    return next(named, name.removeprefix("encoder.").removeprefix("head.").split(".")[0].replace("_", " "))


def frozen_hash(model: nn.Module) -> str:
    """12 hex digits of all parameters without gradient and all buffers: equal only if no bit has changed."""
    digest = hashlib.sha256()
    frozen = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    for name, tensor in sorted({**frozen, **dict(model.named_buffers())}.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
