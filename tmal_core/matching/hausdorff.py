"""Matching clips as sets of frames: the bidirectional mean Hausdorff distance (HyRSM, Wang et al., CVPR 2022, 3.3).

As in CLIP-FSAR's and MoLo's code the minima are summed, not averaged: with T = U = 8 the values are 8 times the mean.
"""

from jaxtyping import Float
from torch import Tensor

from tmal_core.matching.cosine import checked_distances


def bimhm(distances: Float[Tensor, "q s t u"]) -> Float[Tensor, "q s"]:
    """Sum over query frames of the nearest support frame's distance, plus the same from the support's side.

    float32 for bfloat16 and float16 distances between frames, otherwise their dtype.

    Raises:
        ValueError: if the distances have not four dimensions, or a clip has no frame.

    >>> import torch
    >>> bimhm(torch.tensor([[[[0.25, 1.0], [1.0, 0.5]]]]))
    tensor([[1.5000]])
    """
    distances = checked_distances(distances)
    return distances.amin(3).sum(2) + distances.amin(2).sum(2)
