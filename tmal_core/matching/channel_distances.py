"""How alike two frames are by the distances among their channels: TS-FSAR's correlation (AAAI 2026, arXiv 2512.11340).

A frame is its P patch tokens of D channels. Each channel is a sample of P numbers; a frame is described by how far
its channels lie apart from each other, to a power alpha, centred, as distance correlation (Szekely et al., 2007)
describes a sample. Two frames are compared by the cosine of these descriptions.

As in the reference's code (github.com/yaozhang0417/TS-FSAR, commit 1a91053), which differs from the textbook: an
element off the diagonal counts once, and there is no square root.

Letters: Q queries, S supports, T query frames, U support frames, P patches, D width, M = D (D + 1) / 2.
"""

from functools import cache

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tmal_core.matching.cosine import at_least_float32

ALPHA, EPS = 0.4, 0.01
_DISTANCE_EPS = 1e-5


def distance_representation(tokens: Float[Tensor, "*n p d"], alpha: float = ALPHA) -> Float[Tensor, "*n m"]:
    """The centred distances among a frame's channels: the upper triangle with the diagonal, row by row.

    Args:
        tokens: of a frame's patches, of any scale.
        alpha: the power of **squared** distances; 0.5 is the distance itself.

    Returns:
        float32 for bfloat16 and float16 tokens, otherwise their dtype. Differentiable everywhere: the diagonal is a
        constant, where the reference's code multiplies a rounding error by a large number.

    Raises:
        ValueError: if a frame has no patch or no channel, or alpha is not above 0.

    >>> distance_representation(torch.tensor([[1.0, 3.0]]), alpha=0.5).round(decimals=2)  # two channels, sqrt(2) apart
    tensor([-0.7100,  0.7100, -0.7100])
    """
    if tokens.ndim < 2 or 0 in tokens.shape[-2:] or not alpha > 0:
        got = f"{tuple(tokens.shape)} and alpha {alpha}"
        raise ValueError(f"expected tokens (..., P, D) with P, D >= 1 and alpha above 0, got {got}")
    (tokens,) = at_least_float32(tokens)
    num_patches, width = tokens.shape[-2:]
    with torch.autocast(tokens.device.type, enabled=False):
        products = tokens.transpose(-2, -1) @ tokens / (2 * num_patches)
        squares = products.diagonal(dim1=-2, dim2=-1)
        squared = squares[..., :, None] + squares[..., None, :] - 2 * products
        same = torch.eye(width, dtype=torch.bool, device=tokens.device)
        distances = (squared.masked_fill(same, 0.0).clamp(min=0.0) + _DISTANCE_EPS) ** alpha
        means = distances.mean(-1)
        centred = distances - means[..., :, None] - means[..., None, :] + means.mean(-1)[..., None, None]
    return centred.flatten(-2).index_select(-1, _upper(width).to(tokens.device))


def distance_correlation(
    query: Float[Tensor, "q t p d"], support: Float[Tensor, "s u p d"], alpha: float = ALPHA, eps: float = EPS
) -> Float[Tensor, "q s t u"]:
    """Correlation of every query frame with every support frame, in -1..1.

    Args:
        query, support: patch tokens; both may have any number of frames and patches.
        alpha: as of `distance_representation`.
        eps: added to the product of the norms, so that a frame of equal channels is like no other.

    Raises:
        ValueError: if the tokens are not two (clips, frames, P, D) tensors of one width D.

    >>> frames = torch.eye(3)[None, None]
    >>> distance_correlation(frames, 2 * frames).round(decimals=2)  # the scale of tokens does not matter
    tensor([[[[0.9900]]]])
    """
    got = f"{tuple(query.shape)} and {tuple(support.shape)}"
    if query.ndim != 4 or support.ndim != 4 or query.shape[3] != support.shape[3]:
        raise ValueError(f"expected query (Q, T, P, D) and support (S, U, P, D) of one width D, got {got}")
    return correlation(distance_representation(query, alpha), distance_representation(support, alpha), eps)


def correlation(
    query: Float[Tensor, "*g q t m"], support: Float[Tensor, "*g s u m"], eps: float = EPS
) -> Float[Tensor, "*g q s t u"]:
    """The same of representations, within each group where there are several."""
    rows, columns = query.flatten(-3, -2), support.flatten(-3, -2)
    norms = [torch.linalg.vector_norm(part, dim=-1) for part in (rows, columns)]
    with torch.autocast(rows.device.type, enabled=False):
        products = rows @ columns.transpose(-2, -1)
    found = products / (norms[0][..., :, None] * norms[1][..., None, :] + eps)
    return found.unflatten(-1, support.shape[-3:-1]).unflatten(-3, query.shape[-3:-1]).transpose(-3, -2)


@cache
def _upper(width: int) -> Int64[Tensor, " m"]:
    """Places in a flattened (D, D) of the upper triangle with the diagonal, row by row."""
    rows, columns = torch.triu_indices(width, width)
    return rows * width + columns
