"""Matching that knows its task: which moments of two clips are to agree is read from the episode.

After TS-FSAR's task-specific matching (AAAI 2026): a linear map of the query's and the support set's pooled features
gives a matrix over pairs of frames, and what agrees is summed with it. There tokens are correlated, here frame features
are compared by their cosine, and the sum joins a matcher's answer instead of being the answer:

    task        mean frame of the query + mean frame of all prototypes, frames of length one
    M           generator(task), over pairs of moments of a clip
    agreement   sum over t, u of cos(q_t, s_u) M[t, u]

TS-FSAR's matrix is of as many frames as it was trained with. Here it is of 8 moments, between which other numbers of
frames are interpolated; with 8 frames it is the same.

Letters: Q queries, S prototypes, T query frames, U prototype frames, d width.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from tmal_core.matching.cosine import at_least_float32

MOMENTS = 8


class TaskConditioning(nn.Module):
    """What of two clips agrees where it matters in this episode; zero until trained.

    Args:
        width: d.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.generator = nn.Linear(width, MOMENTS * MOMENTS, bias=False)
        nn.init.zeros_(self.generator.weight)

    def forward(
        self,
        query: Float[Tensor, "*groups q t d"],
        prototypes: Float[Tensor, "*groups s u d"],
        between: Float[Tensor, "*groups q s t u"],
    ) -> Float[Tensor, "*groups q s t u"]:
        """What each pair of frames agrees, of every query with every prototype of one episode, of frame features and
        their distances; its sum over pairs is the agreement."""
        query, prototypes, between = at_least_float32(query, prototypes, between)
        with torch.autocast(query.device.type, enabled=False):  # as for distances: bfloat16 is too coarse
            asked = normalize(query, dim=-1).mean(-2)
            shown = normalize(prototypes, dim=-1).mean((-3, -2))
            matrix = self.matrix(asked + shown[..., None, :], between.shape[-2], between.shape[-1])
            return (1 - between) * matrix[..., :, None, :, :]

    def matrix(self, task: Float[Tensor, "*queries d"], num_frames: int, others: int) -> Float[Tensor, "*queries t u"]:
        """M for clips of so many frames; more of them weigh as much together."""
        moments = self.generator(task).unflatten(-1, (MOMENTS, MOMENTS))
        if (num_frames, others) == (MOMENTS, MOMENTS):
            return moments
        flat = moments.reshape(-1, 1, MOMENTS, MOMENTS)
        found = interpolate(flat, (num_frames, others), mode="bilinear", align_corners=True)
        return found.reshape(*moments.shape[:-2], num_frames, others) * (MOMENTS * MOMENTS / (num_frames * others))
