"""A matcher of your own: how far two clips lie apart, made of how far their frames do.

Here `band`: frames are matched with the nearest one, but no further than two frames earlier or later. What happens a
little sooner is still the same; the beginning is never matched with the end.

Letters: Q queries, S support clips, T frames of a query, U frames of a support clip.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tmal_core.config import load_settings
from tmal_core.matching import register_matcher
from tmal_core.models.methods import build

REACH = 2


def band(distances_QSTU: Tensor) -> Tensor:
    """Frame distances (Q, S, T, U), 1 minus a cosine each, to distances of clips (Q, S).

    Any function of torch will do, as long as it can be differentiated: training goes through it.
    """
    t, u = (torch.arange(size, device=distances_QSTU.device) for size in distances_QSTU.shape[2:])
    near = distances_QSTU.masked_fill((t[:, None] - u).abs() > REACH, torch.inf)
    return near.amin(3).sum(2) + near.amin(2).sum(2)  # from both sides, as the package's own


# From here on `model.matching` takes the name, in settings and as `--set model.matching=band`
# of a command that is started from Python after this line; in a sum, too: `otam+band`.
register_matcher("band", band)

# TMAL takes any matcher; here without flow and text, which would have to be given.
chosen = {"model.method": "tmal", "model.matching": "band", "model.fusion": "none"}
model = build(load_settings("tiny", chosen).model).eval()

# An episode of random frames: two classes with one example each, three clips to name.
support, query = torch.randn(2, 8, 3, 64, 64), torch.randn(3, 8, 3, 64, 64)
with torch.no_grad():
    logits = model([query], [support], labels=torch.tensor([0, 1]))
print(logits.softmax(1))  # (3, 2): how probable each class is for each clip
