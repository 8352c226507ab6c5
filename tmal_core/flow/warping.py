"""Backward warping and channel norm: the two small operations between FlowNet2's networks (FlowNet 2.0, section 4).

Letters: B batch, C channels, H, W pixels. Flow is (dx, dy) in pixels. Both equal the reference's CUDA kernels. They
compute in float32 at least: a bfloat16 position beyond 256 is off by a pixel.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Fetch `image` at (x + dx, y + dy), bilinearly.

    Each of the four neighbours is clamped to the image while its weight comes from the unclamped position, which is
    the same as clamping the position itself: beyond the border both neighbours are the border pixel.

    Args:
        image: (B, C, H, W), floating point.
        flow: (B, 2, H, W) in pixels.

    Returns:
        (B, C, H, W) in float32, or float64 if either input is.
    """
    dtype = torch.promote_types(torch.promote_types(image.dtype, flow.dtype), torch.float32)
    height, width = image.shape[-2:]
    x = torch.arange(width, device=flow.device, dtype=dtype) + flow[:, 0]
    y = torch.arange(height, device=flow.device, dtype=dtype)[:, None] + flow[:, 1]
    # Pixel centres to grid_sample's -1..1 over pixel edges (align_corners=False), which also holds for one pixel.
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)
    with torch.autocast(image.device.type, enabled=False):
        return F.grid_sample(image.to(dtype), grid, mode="bilinear", padding_mode="border", align_corners=False)


def channel_norm(features: Tensor) -> Tensor:
    """Euclidean norm over channels, (B, C, H, W) to (B, 1, H, W); its gradient at the zero vector is zero."""
    dtype = torch.promote_types(features.dtype, torch.float32)
    return torch.linalg.vector_norm(features, dim=1, keepdim=True, dtype=dtype)
