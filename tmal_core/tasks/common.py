"""What training, evaluation and the notebooks set up alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tmal_core.config import Settings, in_project
from tmal_core.data.clips import ClipReader
from tmal_core.data.episodes import protocols
from tmal_core.data.sets.catalog import Catalog, load_catalog, require_names
from tmal_core.errors import SettingsError
from tmal_core.evaluation.feature_bank import Bank, load_or_encode
from tmal_core.evaluation.scoring import Episodes
from tmal_core.flow.reader import flow_reader
from tmal_core.models.few_shot import FewShotModel
from tmal_core.models.methods import build, method, needs_names
from tmal_core.models.text import SplitText, class_text
from tmal_core.tasks.episodes import evaluation_sampler
from tmal_core.training.checkpoint import load_checkpoint
from tmal_core.training.loop import BEST, training_hash


def with_method(settings: Settings, name: str) -> Settings:
    """The same settings for another method, and what they hold for it alone."""
    method(name)
    return settings.for_method(name)


def checkpoint_folder(run_dir: Path, name: str) -> Path:
    """Where a run keeps the checkpoints of a method."""
    return run_dir / "checkpoints" / name


def load_model(settings: Settings, run_dir: Path, device: torch.device | str = "cpu") -> FewShotModel:
    """The method that the settings name, in eval mode, with its best trained weights where it is trained.

    Raises:
        WeightsError: it was not trained in this run, or with other settings.
    """
    settings = with_method(settings, settings.model.method)
    model = build_model(settings, device).eval()
    if method(settings.model.method).trained:
        file = checkpoint_folder(run_dir, settings.model.method) / BEST
        load_checkpoint(file, model, training_hash(settings))
    return model


def build_model(settings: Settings, device: torch.device | str = "cpu") -> FewShotModel:
    """The method that the settings name, untrained, for clips of the size that they crop.

    Raises:
        SettingsError: the backbone takes pictures of another size.
    """
    model = build(settings.model, device)
    height, width = model.encoder.clip.visual.image_size
    if (height, width) != (settings.sampling.crop,) * 2:
        remedy = f"Set sampling.crop to {height} (and sampling.resize to at least that)."
        got = f"sampling.crop {settings.sampling.crop}"
        raise SettingsError(f"crops of {height} pixels, as {settings.model.backbone} takes", got, remedy)
    return model


def split_of(settings: Settings, split: str) -> Catalog:
    """One split of the data set."""
    return load_catalog(in_project(settings.data.root)).select(split)


def draw_episodes(settings: Settings, catalog: Catalog, count: int, seed: int) -> dict[str, Episodes]:
    """Evaluation episodes of every protocol of a split, by name; the same for every method."""
    return {
        protocol.name: Episodes.draw(evaluation_sampler(settings, catalog, protocol, seed), count)
        for protocol in protocols(catalog)
    }


def split_text(settings: Settings, model: FewShotModel, catalog: Catalog) -> SplitText | None:
    """Text features of a split's classes, on the CPU; None for a model that asks for no class names.

    Raises:
        DataError: classes without names, which this model cannot do without.
    """
    if not needs_names(settings.model):
        return None
    require_names(catalog)
    names, class_of = np.unique(catalog.table["class_name"].to_numpy(str), return_inverse=True)
    return SplitText(class_text(model.encoder.clip, settings.model, names.tolist()).cpu(), class_of)


def bank_of(settings: Settings, model: FewShotModel, run_dir: Path, split: str, progress: bool = True) -> Bank:
    """The clip tokens of a split by the model, kept in the run folder."""
    catalog = split_of(settings, split)
    reader = ClipReader(catalog, settings, flow=flow_reader(settings, catalog) if model.reads_flow else None)
    return load_or_encode(run_dir / "features", model, reader, split_text(settings, model, catalog), progress)
