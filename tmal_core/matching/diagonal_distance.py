"""Matching frame t with frame t: nothing may move in time.

It knows the order of frames, which no set does, and looks for no better alignment, which OTAM finds for clips of other
classes too. Each frame is counted from the query's side and from the support's, as the matchers that go both ways do:
all of them add up T + U cosines.
"""

from jaxtyping import Float
from torch import Tensor

from tmal_core.matching.cosine import checked_distances


def diagonal(distances: Float[Tensor, "q s t u"]) -> Float[Tensor, "q s"]:
    """Twice the sum of the distances between frame t of the query and frame t of the support clip, in 0..2 (T + U).

    float32 for bfloat16 and float16 distances between frames, otherwise their dtype.

    Raises:
        ValueError: if the distances have not four dimensions, a clip has no frame, or the clips differ in number of
            frames.

    >>> import torch
    >>> diagonal(torch.tensor([[[[0.25, 1.0], [1.0, 0.5]]]]))
    tensor([[1.5000]])
    """
    distances = checked_distances(distances)
    if distances.shape[2] != distances.shape[3]:
        raise ValueError(f"expected clips of one number of frames, got {distances.shape[2]} and {distances.shape[3]}")
    return 2 * distances.diagonal(dim1=2, dim2=3).sum(-1)
