"""Does a map depend on what was learned? Weights in random order, and how alike the maps are in rank.

Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, section 3. Each tensor keeps its numbers and gets them
in a random order, so sizes stay as they were and what was learned is gone. (Weights as before training would be no
check here: every new branch starts as the identity.)
"""

from __future__ import annotations

from copy import deepcopy
from typing import Literal

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from tmal_core.models.few_shot import FewShotModel

Which = Literal["trained", "all"]


@torch.no_grad()
def in_random_order(model: FewShotModel, which: Which, rng: np.random.Generator) -> FewShotModel:
    """A copy with the weights of the trained parts, or all weights, in random order."""
    copy = deepcopy(model)
    for parameter in (copy.tunable() if which == "trained" else dict(copy.named_parameters())).values():
        order = torch.from_numpy(rng.permutation(parameter.numel())).to(parameter.device)
        parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return copy


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's, of two maps of one size; 0 where one of them is the same everywhere and has no ranks.

    Raises:
        ValueError: the sizes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"expected maps of one size, got {tuple(first.shape)} and {tuple(second.shape)}")
    one, other = (each.double().flatten().numpy() for each in (first, second))
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one, other).statistic)
