"""Cosine distance between frame features, and between the temporal means of clips.

Letters: g groups, Q queries, S supports, T query frames, U support frames, D width.
The product of the norms has 0.01 added, as in CLIP-FSAR (Wang et al., IJCV 2023), so a zero feature has distance 1
and a finite gradient; two equal unit vectors are 0.0099 apart.
"""

from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor

EPS = 0.01


def cosine_distance(query: Float[Tensor, "q t d"], support: Float[Tensor, "s u d"]) -> Float[Tensor, "q s t u"]:
    """One minus the cosine similarity of every query frame with every support frame, in 0..2.

    float32 for bfloat16 and float16 features, otherwise the features' dtype.

    Raises:
        ValueError: if the features are not two (clips, frames, D) tensors of one width D.

    >>> frames = torch.eye(2)[None]
    >>> cosine_distance(frames, frames)
    tensor([[[[0.0099, 1.0000],
              [1.0000, 0.0099]]]])
    """
    _check(query, support)
    # bfloat16 tells apart 256 similarities between 0.5 and 1, and the distances of an episode lie closer than that:
    # neither half features nor an autocast around us may take the product.
    query, support = at_least_float32(query, support)
    with torch.autocast(query.device.type, enabled=False):
        product_QTSU = torch.tensordot(query, support, dims=([2], [2]))
        norms_QTSU = torch.tensordot(_norm(query)[..., None], _norm(support)[..., None], dims=([2], [2]))
        return (1 - product_QTSU / (norms_QTSU + EPS)).transpose(1, 2)


def mean_distance(query: Float[Tensor, "q t d"], support: Float[Tensor, "s u d"]) -> Float[Tensor, "q s"]:
    """Cosine distance of the clips' temporal means: the matcher that does not know the order of the frames.

    Range, dtype and errors as of `cosine_distance`.

    >>> frames = torch.eye(2)[None]
    >>> torch.equal(mean_distance(frames, frames), mean_distance(frames, frames.flip(1)))
    True
    """
    _check(query, support)
    query, support = (clips.mean(1, keepdim=True) for clips in at_least_float32(query, support))
    return cosine_distance(query, support)[:, :, 0, 0]


def group_cosine_distance(
    query: Float[Tensor, "g q t d"], support: Float[Tensor, "g s u d"]
) -> Float[Tensor, "g q s t u"]:
    """As `cosine_distance`, within each of g groups."""
    _check(query[0], support[0])
    rows, columns = (clips.flatten(1, 2) for clips in at_least_float32(query, support))
    with torch.autocast(query.device.type, enabled=False):
        # In place: nobody differentiates this, and the product is the largest tensor there is.
        norms = (_norm(rows)[:, :, None] * _norm(columns)[:, None]).add_(EPS)
        distances = torch.bmm(rows, columns.transpose(1, 2)).div_(norms).neg_().add_(1)
    return distances.unflatten(2, support.shape[1:3]).unflatten(1, query.shape[1:3]).transpose(2, 3)


def at_least_float32(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All in float32, or in the widest dtype among them."""
    dtype = reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float32)
    return tuple(tensor.to(dtype) for tensor in tensors)


def checked_distances(distances: Float[Tensor, "q s t u"]) -> Float[Tensor, "q s t u"]:
    """Distances between frames in at least float32.

    Raises:
        ValueError: if they have not four dimensions, or a clip has no frame.
    """
    if distances.ndim != 4 or 0 in distances.shape[2:]:
        raise ValueError(f"expected distances (Q, S, T, U) with T, U >= 1, got {tuple(distances.shape)}")
    return at_least_float32(distances)[0]


def _norm(features: Tensor) -> Tensor:
    return torch.linalg.vector_norm(features, dim=-1)


def _check(query: Tensor, support: Tensor) -> None:
    got = f"{tuple(query.shape)} and {tuple(support.shape)}"
    if query.ndim != 3 or support.ndim != 3 or query.shape[2] != support.shape[2]:
        raise ValueError(f"expected query (Q, T, D) and support (S, U, D) of one width D, got {got}")
    if query.shape[1] == 0 or support.shape[1] == 0:
        raise ValueError(f"expected clips of at least one frame, got {got}")
