"""Temporal attention: the class tokens of a clip's frames look at each other before a block's own attention.

Divided space-time attention (Bertasius et al., "Is Space-Time Attention All You Need for Video Understanding?", ICML
2021, section 3.1: time first, then space) for the class token alone, and as narrow as an adapter. Where ST-Adapter's
convolution sees three frames, this sees all of them. Attention itself knows no order, so each frame's number joins its
token as sines and cosines (Vaswani et al., 2017, section 3.5): any number of frames will do.

Letters: B clips, T frames, L tokens of a frame, D width, C width inside.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

_MOST_HEADS = 4
_LONGEST = 10_000.0  # wavelength, in frames over 2 pi


class TemporalAttention(nn.Module):
    """Tokens whose class tokens have looked at those of their clip; the identity until trained, as `out` is zero.

    Args:
        width: D.
        bottleneck: C.
    """

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.heads = math.gcd(_MOST_HEADS, bottleneck)
        self.norm = nn.LayerNorm(width)
        self.joint = nn.Linear(width, 3 * bottleneck)
        self.out = nn.Linear(bottleneck, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, tokens: Float[Tensor, "bt l d"], num_frames: int) -> Float[Tensor, "bt l d"]:
        """Attend within whole clips: class token first, the frames of a clip one after another.

        Raises:
            ValueError: the frames are not whole clips.
        """
        if len(tokens) % num_frames:
            raise ValueError(f"expected whole clips of {num_frames} frames, got {len(tokens)} frames")
        class_BTD = tokens[:, 0].unflatten(0, (-1, num_frames))
        placed_BTD = self.norm(class_BTD) + numbered(num_frames, tokens.shape[2]).to(class_BTD)
        parts = self.joint(placed_BTD).unflatten(2, (3, self.heads, -1)).unbind(2)
        attended = nn.functional.scaled_dot_product_attention(*(part.transpose(1, 2) for part in parts))
        added_BTD = self.out(attended.transpose(1, 2).flatten(2))
        return torch.cat([tokens[:, :1] + added_BTD.flatten(0, 1)[:, None], tokens[:, 1:]], dim=1)


def numbered(num_frames: int, width: int) -> Float[Tensor, "t d"]:
    """Sines, then cosines, of frame numbers, of falling frequency.

    >>> numbered(2, 4)
    tensor([[0.0000, 0.0000, 1.0000, 1.0000],
            [0.8415, 0.0100, 0.5403, 0.9999]])
    """
    frequency = _LONGEST ** (-2 / width * torch.arange((width + 1) // 2))
    angle = torch.arange(num_frames)[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], 1)[:, :width]
