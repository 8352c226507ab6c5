"""A gate that looks at an episode's support set: are its classes told apart by what clips show, or by how it changes?

Two spreads of the support set's unit frames answer, as in an analysis of variance: how far apart the clips' mean frames
lie, and how far a clip's frames lie from their mean. Where clips differ much more than frames of one clip do, frames
are best compared as they are; where a clip changes as much as clips differ, what they have in common is in the way, and
they are best compared without their clip's mean. What is much is learned from the training split, where the ratio of
unrelated clips is measured. Ours.

    log ratio   log(between / within)
    weight      sigmoid(sharpness (log ratio - usual)), of frames as they are; of centred ones the rest

Letters: S support clips or prototypes, T frames, d width.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

_LEAST = 1e-4  # of a spread: still pictures have none


class SupportGate(nn.Module):
    """A weight of either representation of frames for an episode.

    Args:
        sharpness: start of the learned factor, positive; towards 0 both count the same in every episode.
    """

    def __init__(self, sharpness: float) -> None:
        super().__init__()
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(sharpness)))
        self.usual = nn.Parameter(torch.zeros(()))
        """The log ratio where both count the same: starts at that of the training split (`measure_unit`)."""

    def forward(self, frames: Float[Tensor, "*groups s t d"]) -> Float[Tensor, "*groups 2"]:
        """Factors of frames (of length one) as they are and centred: square roots of weights whose mean is one.

        The same for all queries. A single clip has nothing to lie apart from: both factors are one then.
        """
        if frames.shape[-3] < 2:
            return frames.new_ones(*frames.shape[:-3], 2)
        logit = self.log_sharpness.exp() * (spread_ratio(frames) - self.usual)
        weights = nn.functional.logsigmoid(torch.stack([logit, -logit], -1))
        return (0.5 * (weights + math.log(2))).exp()  # the root of a weight of zero would have no gradient


def spread_ratio(frames: Float[Tensor, "*groups s t d"]) -> Float[Tensor, "*groups"]:
    """Log of how far apart S >= 2 clips lie over how far frames of a clip do, of frames of length one.

    Between: half the squared distance of two clips' mean frames, over all pairs. Within: the squared distance of a
    frame from its clip's mean, over all frames.

    >>> still_and_apart = torch.eye(2)[:, None].expand(2, 3, 2)
    >>> bool(spread_ratio(still_and_apart) > 5 > spread_ratio(still_and_apart.transpose(0, 1)))
    True
    """
    means = frames.mean(-2)
    within = (frames - means[..., None, :]).square().sum(-1).mean((-2, -1))
    among = means.shape[-2]
    apart = (means - means.mean(-2, keepdim=True)).square().sum(-1).mean(-1) * (among / (among - 1))
    return (apart + _LEAST).log() - (within + _LEAST).log()
