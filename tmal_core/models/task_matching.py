"""TS-FSAR's matching: frames compared by their channels' distances, added up by a matrix that the task makes.

"Task-Specific Distance Correlation Matching for Few-Shot Action Recognition", AAAI 2026 (arXiv 2512.11340), as its code
computes it (github.com/yaozhang0417/TS-FSAR, commit 1a91053).

    v          a frame's patches, each times its cosine with the class token, to their channels' distances
    V_c        mean of v over a class's clips, frame by frame
    p_q        mean class token of the query plus mean class token of all support clips
    M_q        (T, T) from p_q by a linear layer without bias; entries may be negative
    score      sum over t, u of correlation(v_q[t], V_c[u]) M_q[t, u]: a logit as it is

Letters: g episodes, S support clips, Q queries, N way, T frames, P patches, D width, M = D (D + 1) / 2.
"""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from tmal_core.matching.channel_distances import ALPHA, correlation, distance_representation
from tmal_core.matching.cosine import at_least_float32
from tmal_core.models.prototypes import class_means

_NORM_AT_LEAST = 1e-8


class TaskMatching(nn.Module):
    """Tokens of an episode to its scores. State dict: `generator.weight`, as the reference's.

    Args:
        width: D.
        num_frames: T, which the weights fix.
        alpha: power of squared distances.
    """

    def __init__(self, width: int, num_frames: int = 8, alpha: float = ALPHA) -> None:
        super().__init__()
        self.num_frames, self.alpha = num_frames, alpha
        self.generator = nn.Linear(width, num_frames**2, bias=False)

    def forward(
        self,
        support: Float[Tensor, "s t l d"],
        query: Float[Tensor, "q t l d"],
        support_labels: Shaped[Tensor, " s"],
    ) -> Float[Tensor, "q n"]:
        """Scores, columns in ascending order of label.

        Args:
            support, query: tokens of each frame, class token first.
            support_labels: any numbers, equal within a class.

        Raises:
            ValueError: if the tokens have another number of frames or another width, or a frame has no patch.
        """
        wanted = (self.num_frames, self.generator.in_features)
        for name, tokens in (("support", support), ("query", query)):
            if tokens.ndim != 4 or (tokens.shape[1], tokens.shape[3]) != wanted or tokens.shape[2] < 2:
                expected = f"{name} tokens (n, {wanted[0]}, 1 + P, {wanted[1]}) with P >= 1"
                raise ValueError(f"expected {expected}, got {tuple(tokens.shape)}")
        prototypes = class_means(frame_representation(support, self.alpha), support_labels)
        means = support[:, :, 0].mean((0, 1)), query[:, :, 0].mean(1)
        return self.scores(frame_representation(query, self.alpha), prototypes, means[1] + means[0])

    def matrices(self, task: Float[Tensor, "*n d"]) -> Float[Tensor, "*n t t"]:
        """Matching matrices of task prototypes: rows are the query's frames, columns the prototype's."""
        return self.generator(task).unflatten(-1, (self.num_frames, self.num_frames))

    def scores(
        self,
        query: Float[Tensor, "*g q t m"],
        prototypes: Float[Tensor, "*g n t m"],
        task: Float[Tensor, "*g q d"],
    ) -> Float[Tensor, "*g q n"]:
        """Scores from representations of queries and classes, and the queries' task prototypes."""
        with torch.autocast(query.device.type, enabled=False):  # one bfloat16 of a correlation is too coarse to add up
            similarity, matrix = correlation(query, prototypes), self.matrices(task)
            return (similarity * matrix[..., :, None, :, :]).sum((-2, -1))


def frame_representation(tokens: Float[Tensor, "*n l d"], alpha: float = ALPHA) -> Float[Tensor, "*n m"]:
    """A frame's tokens, class token first, to the distances among the channels of its weighted patches."""
    (tokens,) = at_least_float32(tokens)
    with torch.autocast(tokens.device.type, enabled=False):
        weights = cosine_similarity(tokens[..., :1, :], tokens[..., 1:, :], dim=-1, eps=_NORM_AT_LEAST)
        return distance_representation(weights[..., None] * tokens[..., 1:, :], alpha)
