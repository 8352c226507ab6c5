"""How far frames of different clips lie apart: what OTAM's smoothing counts in, and what a gate takes for usual.

OTAM's softmin has a temperature, and what is warm depends on how close to each other a CLIP puts its frames. Counted in
standard deviations of their distances one setting means the same for every backbone, and for centred features. A gate
(`models.support_gate`) asks whether an episode's clips lie far apart for how far frames of a clip do, and what is far
is again the backbone's. Both are measured once, on the training split by the untrained model, and kept; no episode goes
into them.

Letters: V clips, T frames, d joint width.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from tmal_core.config import ComputeSettings, EvaluationSettings
from tmal_core.data.clips import ClipReader
from tmal_core.evaluation.feature_bank import bank_key, encode
from tmal_core.matching import cosine_distance
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.support_gate import spread_ratio
from tmal_core.runtime.files import atomic_path

MOST_CLIPS = 512
_AT_ONCE = 16


def measure_unit(
    model: FewShotModel,
    reader: ClipReader,
    evaluation: EvaluationSettings,
    compute: ComputeSettings,
    kept: Path,
    features: Path | None = None,
) -> None:
    """Give the head the standard deviation that its smoothing counts in, and its gate the usual ratio of spreads.

    Args:
        model: untrained; its head compares frames.
        reader: of clips of the training split.
        kept: file of the numbers. Made by these weights, clips and code it is read, not measured again.
        features: folder where the clips' tokens are kept, for another head that measures on the same ones.

    Raises:
        RunError: the disk is full.
    """
    gate = getattr(model.head, "gate", None)
    key = f"{bank_key(model, reader, None, evaluation.precision)}-{getattr(model.head, 'centre', 'none')}"
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    if known.get("key") != key:
        bank = encode(model, reader, None, evaluation, compute, progress=False, folder=features)
        with torch.no_grad():
            frames = model.head.modulate(bank.query.to(model.device))
            known = {"std": frame_distance_std(frames), "clips": len(bank.query), "key": key}
            if gate is not None:
                known["usual"] = spread_ratio(frames[..., : frames.shape[-1] // 2]).item()
        with atomic_path(kept) as temporary:
            temporary.write_text(json.dumps(known), encoding="utf-8")
    model.head.frame_std = known["std"] if model.head.in_std else 1.0
    if gate is not None:
        torch.nn.init.constant_(gate.usual, known["usual"])


def frame_distance_std(frames: Float[Tensor, "v t d"]) -> float:
    """Standard deviation of the cosine distances between frames of different clips, of which there are two or more.

    >>> round(frame_distance_std(torch.eye(3)[torch.tensor([[0, 1], [0, 2]])]), 3)  # one of four pairs is equal
    0.429
    """
    count, total, squares = 0, 0.0, 0.0
    for first in range(0, len(frames), _AT_ONCE):
        part = frames[first : first + _AT_ONCE]
        distances = cosine_distance(part, frames).double()
        others = torch.ones(distances.shape[:2], dtype=torch.bool, device=frames.device)
        others[:, first:].fill_diagonal_(False)
        chosen = distances[others]
        count, total = count + chosen.numel(), total + chosen.sum().item()
        squares += chosen.square().sum().item()
    return (squares / count - (total / count) ** 2) ** 0.5
