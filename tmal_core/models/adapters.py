"""Temporal adapters: a narrow depthwise convolution over time beside a frozen image model (ST-Adapter).

Pan et al., "ST-Adapter: Parameter-Efficient Image-to-Video Transfer Learning", NeurIPS 2022, section 3.2.
Letters: B clips, T frames, P patches (rows R times columns K), D width, C bottleneck.
Patch tokens alone pass the adapter, the CLS token is left as it came, and there is no activation, as in ST-Adapter's
code (the paper's formula has one). Parameter names are the reference's: `fc1`, `conv`, `fc2`.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tmal_core.models import adapters_fast, fast_paths


class STAdapter(nn.Module):
    """Tokens plus `fc2(conv(fc1(patch tokens)))`; the identity until trained, as the convolution starts at zero.

    Args:
        width: D of the tokens.
        bottleneck: C of the convolution.
        kernel_size: odd extents over (frames, rows, columns); borders are padded with zeros.

    Raises:
        ValueError: if the kernel is not three odd positive numbers.
    """

    def __init__(self, width: int, bottleneck: int, kernel_size: tuple[int, int, int] = (3, 1, 1)) -> None:
        super().__init__()
        if len(kernel_size) != 3 or any(extent < 1 or extent % 2 == 0 for extent in kernel_size):
            raise ValueError(f"expected a kernel of three odd extents (frames, rows, columns), got {kernel_size}")
        self.fc1 = nn.Linear(width, bottleneck)
        self.conv = nn.Conv3d(bottleneck, bottleneck, kernel_size, padding="same", groups=bottleneck)
        self.fc2 = nn.Linear(bottleneck, width)
        for name, parameter in self.named_parameters():
            if name not in ("fc1.weight", "fc2.weight"):
                nn.init.zeros_(parameter)

    def forward(self, tokens: Float[Tensor, "bt l d"], num_frames: int) -> Float[Tensor, "bt l d"]:
        """Adapt the tokens (B * T, 1 + P, D) of whole clips: CLS first, the frames of a clip one after another.

        Raises:
            ValueError: if the tokens are not whole clips of this width, or the kernel has rows and columns and the
                patches are not a square.
        """
        if tokens.ndim != 3 or tokens.shape[2] != self.fc1.in_features or num_frames < 1:
            wanted = f"tokens (B * T, 1 + P, {self.fc1.in_features}) of T >= 1 frames"
            raise ValueError(f"expected {wanted}, got {tuple(tokens.shape)} and T = {num_frames}")
        if tokens.shape[0] % num_frames:
            raise ValueError(f"expected whole clips of {num_frames} frames, got {tokens.shape[0]} frames")
        if fast_paths.over_time(self.conv.kernel_size):
            return adapters_fast.adapted(self, tokens, num_frames)
        class_token, patches = tokens[:, :1], tokens[:, 1:]
        mixed_BTPC = self._convolved(self.fc1(patches).unflatten(0, (-1, num_frames)))
        return torch.cat([class_token, patches + self.fc2(mixed_BTPC.flatten(0, 1))], dim=1)

    def _convolved(self, hidden_BTPC: Tensor) -> Tensor:
        """The convolution over frames, rows and columns; over frames alone patches need no order."""
        num_patches, spatial = hidden_BTPC.shape[2], self.conv.kernel_size[1:] != (1, 1)
        side = math.isqrt(num_patches)
        if spatial and side * side != num_patches:
            raise ValueError(f"expected a square of patches for kernel {self.conv.kernel_size}, got {num_patches}")
        hidden_BTRKC = hidden_BTPC.unflatten(2, (side, side) if spatial else (num_patches, 1))
        return self.conv(hidden_BTRKC.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1).flatten(2, 3)
