"""Prototype modulation: a clip's frame features look at each other, at its motion token and at its class's text.

CLIP-FSAR's temporal transformer (Wang et al., IJCV 2023, section 3.3) runs over the sequence
[frame features, motion token, text token]; only the frames are kept. CLIP-FSAR takes its output as it is. TMAL mixes it
in through gates that start at zero, so that an untrained TMAL matches plain frame features:

    frames + gate * (context(sequence) - frames) + text_gate * |frames| text / |text|

The last term is there because CLIP's text and frame features share one space: what a name says about frames needs no
translation, only a weight.

Letters: n clips, T frames, d joint width; S support clips, N way.
"""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.functional import normalize

from tmal_core.models.temporal_transformer import TemporalTransformer


def in_context(transformer: nn.Module, frames: Float[Tensor, "n t d"], *others: Tensor | None) -> Tensor:
    """Frame features after a transformer that sees further tokens (n, d) behind them; None is none."""
    tokens = [token[:, None] for token in others if token is not None]
    return transformer(torch.cat([frames, *tokens], dim=1))[:, : frames.shape[1]]


class PrototypeModulation(nn.Module):
    """Frame features to modulated ones, for prototypes (with text) and for queries (without).

    Args:
        width: d.
        mlp_width: of the temporal transformer's FFN.
        text: whether prototypes will come with text, which has a gate of its own.
    """

    def __init__(self, width: int, mlp_width: int, text: bool) -> None:
        super().__init__()
        self.context2 = TemporalTransformer(width, mlp_width=mlp_width)
        self.gate = nn.Parameter(torch.zeros(width))
        self.text_gate = nn.Parameter(torch.zeros(1)) if text else None

    def forward(
        self,
        frames: Float[Tensor, "n t d"],
        motion: Float[Tensor, "n d"] | None = None,
        text: Float[Tensor, "n d"] | None = None,
    ) -> Float[Tensor, "n t d"]:
        """Modulate, by motion where flow is fused here, by the text of each clip's class; queries come without."""
        mixed = frames + self.gate * (in_context(self.context2, frames, motion, text) - frames)
        if text is None:
            return mixed
        return mixed + self.text_gate * frames.norm(dim=-1, keepdim=True) * normalize(text, dim=-1)[:, None]


def class_means(values: Float[Tensor, "s ..."], labels: Shaped[Tensor, " s"]) -> Float[Tensor, "way ..."]:
    """Mean of `values` over each class, classes in ascending order of label."""
    classes, column = labels.unique(return_inverse=True)
    members = nn.functional.one_hot(column, len(classes)).to(values.dtype)
    return torch.tensordot(members / members.sum(0), values, dims=([0], [0]))
