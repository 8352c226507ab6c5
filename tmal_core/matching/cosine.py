"""Cosine distance between frame features, and between the temporal means of clips.

Letters: Q queries, S supports, T query frames, U support frames, D width.
The product of the norms has 0.01 added, as in CLIP-FSAR (Wang et al., IJCV 2023), so a zero feature has distance 1
and a finite gradient; two equal unit vectors are 0.0099 apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 0.01


def cosine_distance(query: Tensor, support: Tensor, eps: float = EPS) -> Tensor:
    """One minus the cosine similarity of every query frame with every support frame.

    Args:
        query: (Q, T, D) frame features.
        support: (S, U, D) frame features.
        eps: added to the product of the norms.

    Returns:
        (Q, S, T, U) distances in 0..2; float32 for bfloat16 and float16 features, otherwise the features' dtype.

    Raises:
        ValueError: if the features are not two (clips, frames, D) tensors of one width D.
    """
    _check(query, support)
    # bfloat16 tells apart 256 similarities between 0.5 and 1, and the distances of an episode lie closer than that:
    # neither half features nor an autocast around us may take the product.
    query, support = at_least_float32(query, support)
    with torch.autocast(query.device.type, enabled=False):
        product_QTSU = torch.tensordot(query, support, dims=([2], [2]))
        norms_QTSU = torch.tensordot(_norm(query)[..., None], _norm(support)[..., None], dims=([2], [2]))
        return (1 - product_QTSU / (norms_QTSU + eps)).transpose(1, 2)


def mean_distance(query: Tensor, support: Tensor, eps: float = EPS) -> Tensor:
    """Cosine distance of the clips' temporal means: the matcher that does not know the order of the frames.

    Args:
        query: (Q, T, D) frame features.
        support: (S, U, D) frame features.
        eps: added to the product of the norms.

    Returns:
        (Q, S) distances in 0..2, dtype as in `cosine_distance`.

    Raises:
        ValueError: as `cosine_distance`.
    """
    _check(query, support)
    query, support = (clips.mean(1, keepdim=True) for clips in at_least_float32(query, support))
    return cosine_distance(query, support, eps)[:, :, 0, 0]


def group_cosine_distance(query: Tensor, support: Tensor, eps: float = EPS) -> Tensor:
    """As `cosine_distance`, within each of g groups: (g, Q, T, D) and (g, S, U, D) to (g, Q, S, T, U)."""
    _check(query[0], support[0])
    rows, columns = (clips.flatten(1, 2) for clips in at_least_float32(query, support))
    with torch.autocast(query.device.type, enabled=False):
        # In place: nobody differentiates this, and the product is the largest tensor there is.
        norms = (_norm(rows)[:, :, None] * _norm(columns)[:, None]).add_(eps)
        distances = torch.bmm(rows, columns.transpose(1, 2)).div_(norms).neg_().add_(1)
    return distances.unflatten(2, support.shape[1:3]).unflatten(1, query.shape[1:3]).transpose(2, 3)


def at_least_float32(query: Tensor, support: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float32, or in the wider dtype of the two."""
    dtype = torch.promote_types(torch.promote_types(query.dtype, support.dtype), torch.float32)
    return query.to(dtype), support.to(dtype)


def _norm(features: Tensor) -> Tensor:
    return torch.linalg.vector_norm(features, dim=-1)


def _check(query: Tensor, support: Tensor) -> None:
    if query.ndim != 3 or support.ndim != 3 or query.shape[2] != support.shape[2]:
        raise ValueError(
            "expected query (Q, T, D) and support (S, U, D) of one width D, "
            f"got {tuple(query.shape)} and {tuple(support.shape)}"
        )
    if query.shape[1] == 0 or support.shape[1] == 0:
        raise ValueError(f"expected clips of at least one frame, got {tuple(query.shape)} and {tuple(support.shape)}")
