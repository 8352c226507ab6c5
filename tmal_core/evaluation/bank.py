"""The feature bank: each video is encoded once, episodes are row numbers into what was encoded.

Letters: V videos, T frames, M motion tokens per clip (1 or 0), d joint width.
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
from tmal_core.models.text import SplitText
from tmal_core.models.tmal import TMAL


@dataclass(frozen=True)
class Bank:
    """Clip tokens of the rows of a catalogue.

    Attributes:
        query: (V, T + M, d) float32, each video as a query.
        support: the same as support clips; the very tensor `query` where the roles do not differ.
        key: of what made them.
        text: class names of the catalogue, for models that read them.
    """

    query: Tensor
    support: Tensor
    key: str
    text: SplitText | None = None


@torch.no_grad()
def encode(model: TMAL, reader: ClipReader, text: SplitText | None = None, progress: bool = True) -> Bank:
    """Encode every video of the reader's catalogue once, in both roles where they differ."""
    settings = reader.settings
    rows = np.arange(len(reader.catalog))
    loader = evaluation_loader(reader, rows, settings.evaluation.batch_videos, settings.compute.num_workers)
    device = model.log_scale.device
    model.eval()
    parts: list[tuple[Tensor, Tensor]] = []
    done = 0
    for clips in tqdm(loader, desc="encoding", unit="batch", disable=not progress):
        chosen = rows[done : done + len(clips.frames)]
        done += len(chosen)
        words = text.of_videos(chosen).to(device) if model.separate_roles else None
        flow_px = None if clips.flow_px is None else clips.flow_px.to(device)
        roles = model.encode_roles(clips.frames.to(device), flow_px, words)
        parts.append(tuple(tokens.float().cpu() for tokens in roles))
    query, support = (torch.cat(side) for side in zip(*parts, strict=True))
    return Bank(query, support if model.separate_roles else query, bank_key(model, reader, text), text)


def load_or_encode(
    folder: Path, model: TMAL, reader: ClipReader, text: SplitText | None = None, progress: bool = True
) -> Bank:
    """The bank of these weights, settings and videos that the folder keeps; a new one where it has none.

    Methods that share their tokens (frozen CLIP under different matchers) share one file.
    """
    key = bank_key(model, reader, text)
    path = folder / f"{key}.safetensors"
    if path.is_file():
        kept = load_file(path)
        return Bank(kept["query"], kept.get("support", kept["query"]), key, text)
    bank = encode(model, reader, text, progress)
    tensors = {"query": bank.query.contiguous()}
    if model.separate_roles:
        tensors["support"] = bank.support.contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)
    return bank


def bank_key(model: TMAL, reader: ClipReader, text: SplitText | None = None) -> str:
    """Names what clip tokens depend on: the weights that encode, the sampling, the videos, and flow and text if read.

    What comes after encoding (matching, prototype modulation, scales) is left out.
    """
    settings = reader.settings
    sections = ("sampling", "data", "flow") if reader.with_flow else ("sampling", "data")
    digest = hashlib.sha256(settings_hash(settings, *sections).encode())
    digest.update(json.dumps(reader.catalog.table[["video", "sha256"]].to_numpy().tolist()).encode())
    if model.separate_roles:
        digest.update(text.features.numpy().tobytes() + text.class_of.tobytes())
    for name, tensor in model.state_dict().items():
        if name.startswith(("log_", "modulation.")):
            continue
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
