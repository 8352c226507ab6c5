"""Prototype modulation: a clip's frame features look at each other, at its motion token and at its class's text.

CLIP-FSAR's temporal transformer (Wang et al., IJCV 2023, section 3.3) runs over the sequence
[frame features, motion token, text token]; only the frames are kept. CLIP-FSAR takes its output as it is. TMAL mixes it
in through gates that start at zero, so that an untrained TMAL matches plain frame features:

    frames + gate * (context(sequence) - frames) + text_gate * |frames| text / |text|

The last term is there because CLIP's text and frame features share one space: what a name says about frames needs no
translation, only a weight.

Letters: n clips, T frames, d joint width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from tmal_core.models.temporal_transformer import TemporalTransformer


def in_context(transformer: nn.Module, frames: Tensor, *others: Tensor | None) -> Tensor:
    """Frame features (n, T, d) after a transformer that sees further tokens (n, d) behind them; None is none."""
    tokens = [token[:, None] for token in others if token is not None]
    return transformer(torch.cat([frames, *tokens], dim=1))[:, : frames.shape[1]]


class PrototypeModulation(nn.Module):
    """Frame features (n, T, d) to modulated ones, for prototypes (with text) and for queries (without).

    Args:
        width: d.
        num_heads: of the temporal transformer.
        mlp_width: of its FFN.
        text: whether prototypes will come with text, which has a gate of its own.
    """

    def __init__(self, width: int, num_heads: int = 8, mlp_width: int = 2048, text: bool = True) -> None:
        super().__init__()
        self.context2 = TemporalTransformer(width, num_heads, mlp_width)
        self.gate = nn.Parameter(torch.zeros(width))
        self.text_gate = nn.Parameter(torch.zeros(1)) if text else None

    def forward(self, frames: Tensor, motion: Tensor | None = None, text: Tensor | None = None) -> Tensor:
        """Modulate.

        Args:
            frames: (n, T, d).
            motion: (n, d), where flow is fused here.
            text: (n, d) of each clip's class; None for queries, whose class is the question.

        Returns:
            (n, T, d).
        """
        mixed = frames + self.gate * (in_context(self.context2, frames, motion, text) - frames)
        if text is None:
            return mixed
        return mixed + self.text_gate * frames.norm(dim=-1, keepdim=True) * normalize(text, dim=-1)[:, None]


def class_means(values: Tensor, labels: Tensor) -> Tensor:
    """Mean of `values` (S, ...) over each class, (way, ...), classes in ascending order of label (S,)."""
    classes, column = labels.unique(return_inverse=True)
    members = nn.functional.one_hot(column, len(classes)).to(values.dtype)
    return torch.tensordot(members / members.sum(0), values, dims=([0], [0]))
