"""The feature bank: each video is encoded once, episodes are row numbers into what was encoded.

A bank may hold several random views of each video. Which one an episode uses follows from the seed, the episode and the
clip's slot in it, so every method reads the same frames in the same episode; `positions` names the frames, and paired
comparisons refuse methods that read other ones.

Letters: V videos, k views, T frames, M motion tokens per clip (1 or 0), d joint width.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tmal_core.config import ComputeSettings, EvaluationSettings
from tmal_core.data.clips import Clip, ClipReader, evaluation_loader
from tmal_core.errors import RunError
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.open_clip_access import CLIP_STATISTICS, tokens_of_picture
from tmal_core.models.text import SplitText
from tmal_core.runtime.files import atomic_path
from tmal_core.runtime.progress_bar import tqdm

_TOKENS_AT_ONCE_CPU = 3200  # two clips of ViT-B/16: what the FFN makes of more leaves the cache
_PACKAGE = Path(__file__).parent.parent
_ENCODING_CODE = ("models/**/*.py", "data/clips.py", "data/video/*.py", "flow/*.py")


@dataclass(frozen=True)
class Bank:
    """Clip tokens of the rows of a catalogue."""

    query: Tensor  # (k * V, T + M, d) float32, each video as a query: view j of video v is row j V + v
    support: Tensor  # the same as support clips; the very tensor `query` where the roles do not differ
    key: str  # of what made them
    text: SplitText | None = None  # class names of the catalogue, for models that read them
    views: int = 1  # k
    positions: str = ""  # hash of the frames that every view shows

    @property
    def num_videos(self) -> int:
        return len(self.query) // self.views


def encode(
    model: FewShotModel,
    reader: ClipReader,
    text: SplitText | None = None,
    evaluation: EvaluationSettings = EvaluationSettings(),
    compute: ComputeSettings = ComputeSettings(),
    progress: bool = True,
    folder: Path | None = None,
) -> Bank:
    """Encode every view of every video of the reader's catalogue once, in both roles where they differ.

    Args:
        text: of the catalogue's classes; without it all clips are queries.
        folder: where banks are kept: one of these weights, settings, videos and code is read, not made. Methods that
            share their tokens (frozen CLIP under different matchers) share one file.

    Raises:
        RunError: the kept file is damaged.
    """
    key = bank_key(model, reader, text, evaluation.precision)
    path = None if folder is None else folder / f"{key}.safetensors"
    if path is not None and path.is_file():
        try:
            tensors = load_file(path)
        except (SafetensorError, OSError) as error:
            got = f"{path} ({error})"
            raise RunError("a whole file of clip tokens", got, "Remove it: it is made again.") from error
    else:
        tensors = _encoded(model, reader, text, evaluation, compute, progress)
        if path is not None:
            with atomic_path(path) as temporary:
                save_file(tensors, temporary)
    support = tensors.get("support", tensors["query"])
    return Bank(tensors["query"], support, key, text, reader.views, positions_hash(reader))


@torch.no_grad()
def _encoded(
    model: FewShotModel,
    reader: ClipReader,
    text: SplitText | None,
    evaluation: EvaluationSettings,
    compute: ComputeSettings,
    progress: bool,
) -> dict[str, Tensor]:
    """Clip tokens by role; support alone where it differs."""
    rows = np.arange(len(reader.catalog))
    loader = evaluation_loader(reader, rows, evaluation.batch_videos, compute.num_workers, compute.device)
    model.eval()
    roles = ("query", "support") if model.encoder.separate_roles else ("query",)
    found: dict[str, Tensor] = {}
    done = filled = 0
    for clips in tqdm(loader, desc="encoding", unit="batch", disable=not progress):
        chosen = np.arange(done, done + len(clips.frames)) % len(rows)
        done += len(chosen)
        words = text.of_videos(chosen) if text is not None and model.encoder.separate_roles else None
        for part in encode_clips(model, clips, words, evaluation.precision == "bfloat16"):
            for role, tokens in zip(roles, part, strict=False):
                # At once in its place: parts that are put together in the end would need the memory twice.
                if role not in found:
                    found[role] = torch.empty(len(rows) * reader.views, *tokens.shape[1:])
                found[role][filled : filled + len(tokens)] = tokens
            filled += len(part[0])
    return found


def encode_clips(
    model: FewShotModel, clips: Clip, words: Tensor | None = None, half: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """Clip tokens of clips (n, ...) in both roles, float32 on the CPU, some clips at a time; `half` is bfloat16.

    Words (n, d) are of each clip's class, where text joins inside the tower; without them all clips are queries.
    """
    device, num_clips = model.device, len(clips.frames)
    tokens_of_clip = clips.frames.shape[1] * tokens_of_picture(model.encoder.clip.visual)
    size = max(1, _TOKENS_AT_ONCE_CPU // tokens_of_clip) if device.type == "cpu" else num_clips
    for first in range(0, num_clips, size):
        chosen = slice(first, first + size)
        part: list[Any] = [None if x is None else x[chosen].to(device, non_blocking=True) for x in (*clips, words)]
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            query, support = model.encoder.encode_roles(*part)
        yield query.float().cpu(), support.float().cpu()


def positions_hash(reader: ClipReader) -> str:
    """Names the frames that evaluation reads: every view's positions in every video of the reader's catalogue."""
    digest = hashlib.sha256()
    for row, video in enumerate(reader.catalog.table["video"]):
        for view in range(reader.views):
            digest.update(f"{video} {reader.test_positions(row, view).tolist()}\n".encode())
    return digest.hexdigest()[:16]


@cache
def code_version() -> str:
    """Names the code that makes clip tokens: the package's source of reading, transforming and encoding, and torch."""
    digest = hashlib.sha256(torch.__version__.encode())
    for pattern in _ENCODING_CODE:
        for path in sorted(_PACKAGE.glob(pattern)):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def bank_key(model: FewShotModel, reader: ClipReader, text: SplitText | None = None, precision: str = "float32") -> str:
    """Names all that clip tokens depend on; what comes after encoding (matching, modulation, scales) is left out."""
    drawn = (reader.seed, reader.views) if reader.draws_views else ()
    normalised = reader.transform.mean, reader.transform.std
    facts = [code_version(), precision, reader.sampling.model_dump(), reader.decoder, reader.flow_origin, *drawn]
    facts += [normalised] if normalised != CLIP_STATISTICS else []
    digest = hashlib.sha256(json.dumps(facts).encode())
    digest.update(json.dumps(reader.catalog.table[["video", "sha256"]].to_numpy().tolist()).encode())
    if text is not None and model.encoder.separate_roles:
        digest.update(text.features.numpy().tobytes() + text.class_of.tobytes())
    for name, tensor in model.encoder.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
