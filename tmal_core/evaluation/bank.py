"""The feature bank: each video is encoded once, episodes are row numbers into what was encoded.

Letters: V videos, T frames, d joint width.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm.auto import tqdm

from tmal_core.clips import ClipReader, evaluation_loader
from tmal_core.config import settings_hash
from tmal_core.files import atomic_path
from tmal_core.models.tmal import TMAL


@dataclass(frozen=True)
class Bank:
    """Frame features (V, T, d) float32 of the rows of a catalogue, and the key of what made them."""

    features: Tensor
    key: str


@torch.no_grad()
def encode(model: TMAL, reader: ClipReader, progress: bool = True) -> Bank:
    """Encode every video of the reader's catalogue once."""
    settings = reader.settings
    rows = np.arange(len(reader.catalog))
    loader = evaluation_loader(reader, rows, settings.evaluation.batch_videos, settings.compute.num_workers)
    device = model.log_scale.device
    model.eval()
    bar = tqdm(loader, desc="encoding", unit="batch", disable=not progress)
    features = torch.cat([model.encode(frames.to(device)).float().cpu() for frames in bar])
    return Bank(features, bank_key(model, reader))


def load_or_encode(folder: Path, model: TMAL, reader: ClipReader, progress: bool = True) -> Bank:
    """The bank of these weights, settings and videos that the folder keeps; a new one where it has none.

    Methods that share their features (frozen CLIP under different matchers) share one file.
    """
    key = bank_key(model, reader)
    path = folder / f"{key}.safetensors"
    if path.is_file():
        return Bank(load_file(path)["features"], key)
    bank = encode(model, reader, progress)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        save_file({"features": bank.features.contiguous()}, temporary)
    return bank


def bank_key(model: TMAL, reader: ClipReader) -> str:
    """Names what features depend on: the weights (not the logit scale), the sampling, and the videos."""
    digest = hashlib.sha256(settings_hash(reader.settings, "sampling", "data").encode())
    digest.update(json.dumps(reader.catalog.table[["video", "sha256"]].to_numpy().tolist()).encode())
    for name, tensor in model.state_dict().items():
        if name == "log_scale":
            continue
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
