"""Which patches look like a name: cosines of a clip's last patch tokens, in CLIP's joint space, with text.

CLIP was trained to compare its class token with text; what its patch tokens say is a by-product, and may be none.

Letters: T frames, R rows and K columns of patches, N names, d joint width.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from tmal_core.analysis.target import batch_of
from tmal_core.data.clips import Clip
from tmal_core.models.few_shot import FewShotModel


@torch.no_grad()
def patch_text_similarity(model: FewShotModel, clip: Clip, text: Float[Tensor, "n d"]) -> Float[Tensor, "t r k n"]:
    """Cosines in -1..1, on the CPU; the clip is read as a query.

    Args:
        clip: (T, 3, C, C), and (T, 2, C, C) flow where it is read.
        text: of the names.
    """
    visual = model.clip_encoder.clip.visual
    rows, columns = visual.grid_size
    tokens = model.clip_encoder.tokens(*batch_of(model, clip))[-1]
    patches = visual.ln_post(tokens[:, 1:])
    if visual.proj is not None:
        patches = patches @ visual.proj
    similarity = normalize(patches.float(), dim=-1) @ normalize(text.float().to(model.device), dim=-1).T
    return similarity.unflatten(1, (rows, columns)).cpu()
