"""What training minimises."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tmal_core.clips import EpisodeClips
from tmal_core.models.tmal import TMAL


@dataclass(frozen=True)
class EpisodeLoss:
    """Loss of one episode (a scalar with gradient) and its accuracy in percent."""

    loss: Tensor
    accuracy_pct: float


def episode_loss(model: TMAL, clips: EpisodeClips) -> EpisodeLoss:
    """Cross-entropy of the queries' logits; support and queries pass the backbone together."""
    device = model.log_scale.device
    features = model.encode(torch.cat([clips.support, clips.query]).to(device))
    support, query = features.split([len(clips.support), len(clips.query)])
    logits = model.episode_logits(query, support, clips.support_labels.to(device))
    labels = clips.query_labels.to(device)
    accuracy_pct = 100.0 * (logits.argmax(1) == labels).float().mean().item()
    return EpisodeLoss(F.cross_entropy(logits.float(), labels), accuracy_pct)
