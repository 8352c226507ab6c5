"""CLIP's weights in a narrower layer's shape: how TS-FSAR's side network starts (AAAI 2026, its code at 1a91053).

It is no projection of the function that CLIP computes: the rows of a matrix are put on its first principal
components, the first rows are kept, and the mean row is lost. The reference takes a randomised decomposition at full
size, seeded by NumPy's global generator; this is the exact one, its limit.
"""

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def shrink(weight: Tensor, *shape: int) -> Tensor:
    """A vector (n,) or matrix (rows, columns) in a smaller shape; the tensor itself where it is the same.

    A vector is interpolated (bicubic, half-pixel centres). Of a matrix that stays as high as wide or higher the rows'
    scores on the first components are taken, of a wider one the same of its transpose. The largest score of a component
    is positive, as in scikit-learn 1.3.

    Raises:
        ValueError: if the shape has other dimensions than the tensor, or is larger.

    >>> shrink(torch.arange(6.0), 2)
    tensor([1., 4.])
    """
    if weight.ndim != len(shape) or weight.ndim not in (1, 2) or any(map(int.__lt__, weight.shape, shape)):
        raise ValueError(f"expected a shape within {tuple(weight.shape)}, got {shape}")
    if weight.shape == shape:
        return weight
    if weight.ndim == 1:
        return interpolate(weight[None, None, None], (1, *shape), mode="bicubic", align_corners=False).flatten()
    rows, columns = shape
    if rows >= columns:
        return _scores(weight, columns)[:rows]
    return _scores(weight.T, rows)[:columns].T


def _scores(weight: Tensor, num_components: int) -> Tensor:
    """(rows, components) of a matrix's centred rows."""
    centred = (weight - weight.mean(0)).double()
    _, components = torch.linalg.eigh(centred.T @ centred)  # in ascending order of what they explain
    scores = centred @ components.flip(1)[:, :num_components]
    largest = scores.gather(0, scores.abs().argmax(0, keepdim=True))
    return (scores * largest.sign()).to(weight.dtype)
