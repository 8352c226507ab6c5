"""A few short videos with a known class each, and a model that needs no weights."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tmal_core.config import EpisodeSettings, ModelSettings, load_settings
from tmal_core.data.clips import ClipReader
from tmal_core.data.diagnostic.generation import write_clip
from tmal_core.data.sets.catalog import save_catalog
from tmal_core.evaluation.feature_bank import Bank
from tmal_core.models.methods.otam import METHOD as OTAM

CLASSES, CLIPS, FRAMES, SIDE = ("red", "green", "<b>blue</b>"), 4, 12, 32


@pytest.fixture(scope="session")
def catalog(tmp_path_factory):
    """Three classes of four clips, all `test`; frame t of a clip has grey level t in its free channels."""
    root = tmp_path_factory.mktemp("videos")
    rows = []
    for label, name in enumerate(CLASSES):
        for clip in range(CLIPS):
            frames = (
                np.zeros((FRAMES, SIDE, SIDE, 3), np.uint8)
                + (8 * np.arange(FRAMES, dtype=np.uint8))[:, None, None, None]
            )
            frames[..., label] = 200
            path = root / f"{label}_{clip}.mp4"
            write_clip(path, frames)
            row = {"video": path.stem, "path": path.name, "split": "test", "class_name": name, "family": "colours"}
            row |= {"role": "both", "group": "", "base": path.stem, "num_frames": FRAMES, "fps": 24.0}
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            rows.append({**row, "height": SIDE, "width": SIDE, "sha256": digest})
    return save_catalog(root, pd.DataFrame(rows))


@pytest.fixture(scope="session")
def start():
    return EpisodeSettings(way=3, shot=1, queries_eval=1)


@pytest.fixture
def reader(catalog):
    return ClipReader(catalog, load_settings("tiny").sampling)


class _NoClip(nn.Module):
    """What a model asks of a CLIP before it encodes anything."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = nn.Module()
        self.visual.conv1 = nn.Conv2d(3, 4, 1)
        self.visual.transformer = nn.Module()
        self.visual.transformer.resblocks = nn.ModuleList()
        self.visual.proj = None
        self.logit_scale = nn.Parameter(torch.zeros(()))


@pytest.fixture(scope="session")
def model():
    parts = ModelSettings(adapters="none", flow_encoder="none", text=False, logit_scale=2.0)
    return OTAM.build(_NoClip(), parts).eval()


@pytest.fixture(scope="session")
def perfect():
    """A bank of frame features by which every class is a direction of its own."""
    one_hot = torch.eye(3).repeat_interleave(CLIPS, dim=0)
    tokens = one_hot[:, None, :].repeat(1, 8, 1)
    return Bank(tokens, tokens, key="")
