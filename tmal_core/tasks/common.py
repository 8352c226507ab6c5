"""What training, evaluation and the notebooks set up alike."""

from __future__ import annotations

from pathlib import Path

import torch

from tmal_core.clips import ClipReader
from tmal_core.config import Settings, in_project
from tmal_core.data.catalog import Catalog, load_catalog
from tmal_core.data.episodes import EpisodeSampler, Protocol, protocols
from tmal_core.evaluation.bank import Bank, load_or_encode
from tmal_core.evaluation.protocol import Episodes
from tmal_core.models.methods import build, method
from tmal_core.models.tmal import TMAL
from tmal_core.training.checkpoint import load_checkpoint
from tmal_core.training.loop import BEST, training_hash


def with_method(settings: Settings, name: str) -> Settings:
    """The same settings for another method."""
    method(name)
    return settings.replace({"model.method": name})


def checkpoint_folder(run_dir: Path, name: str) -> Path:
    """Where a run keeps the checkpoints of a method."""
    return run_dir / "checkpoints" / name


def load_model(settings: Settings, run_dir: Path, device: torch.device | str = "cpu") -> TMAL:
    """The method that the settings name, in eval mode, with its best trained weights where it is trained.

    Raises:
        WeightsError: it was not trained in this run, or with other settings.
    """
    model = build(settings.model, device).eval()
    if method(settings.model.method).trained:
        file = checkpoint_folder(run_dir, settings.model.method) / BEST
        load_checkpoint(file, model, training_hash(settings))
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


def evaluation_sampler(settings: Settings, catalog: Catalog, protocol: Protocol, seed: int) -> EpisodeSampler:
    """Episodes as evaluation draws them."""
    e = settings.episodes
    return EpisodeSampler(catalog, protocol, e.way, e.shot, e.queries_eval, seed)


def bank_of(settings: Settings, model: TMAL, run_dir: Path, split: str, progress: bool = True) -> Bank:
    """The features of a split by the model, kept in the run folder."""
    return load_or_encode(run_dir / "features", model, ClipReader(split_of(settings, split), settings), progress)
