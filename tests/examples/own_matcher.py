"""A matcher of your own: how far two clips lie apart, made of how far their frames do.

Here `diagonal`: frame t is compared with frame t, and nothing may move in time.

Letters: Q queries, S support clips, T frames of a query, U frames of a support clip.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tmal_core.config import load_settings
from tmal_core.matching import register_matcher
from tmal_core.models.methods import build


def diagonal(distances_QSTU: Tensor) -> Tensor:
    """Frame distances (Q, S, T, U), 1 minus a cosine each, to distances of clips (Q, S).

    Any function of torch will do, as long as it can be differentiated: training goes through it.
    """
    return distances_QSTU.diagonal(dim1=2, dim2=3).sum(-1)


# From here on `model.matching` takes the name, in settings and as `--set model.matching=diagonal`
# of a command that is started from Python after this line.
register_matcher("diagonal", diagonal)

# TMAL takes any matcher; here without flow and text, which would have to be given.
chosen = {"model.method": "tmal", "model.matching": "diagonal", "model.fusion": "none"}
model = build(load_settings("tiny", chosen).model).eval()

# An episode of random frames: two classes with one example each, three clips to name.
support, query = torch.randn(2, 8, 3, 64, 64), torch.randn(3, 8, 3, 64, 64)
with torch.no_grad():
    logits = model([query], [support], labels=torch.tensor([0, 1]))
print(logits.softmax(1))  # (3, 2): how probable each class is for each clip
