"""Clips as models read them: which frames, from which file, cropped how. Training and evaluation read through here.

Letters: n clips, T frames, C crop in pixels; N way, K shot, Q queries per class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tmal_core.config import Settings
from tmal_core.data.catalog import Catalog
from tmal_core.data.episodes import EpisodeSampler
from tmal_core.data.sampling import grid_positions, test_positions, train_positions
from tmal_core.data.transforms import ClipTransform
from tmal_core.data.video import read_frames
from tmal_core.seeding import generator


class ClipReader:
    """Reads the clips of a catalogue as the settings say. Holds no open file, so any worker may use it.

    Args:
        cache: keep what `train` decodes: all frames of a video's grid, once.
    """

    def __init__(self, catalog: Catalog, settings: Settings, cache: bool = False) -> None:
        self.catalog, self.settings = catalog, settings
        self._cache: dict[int, np.ndarray] | None = {} if cache else None
        sampling = settings.sampling
        self.transform = ClipTransform(sampling.resize, sampling.crop, sampling.flip)

    def test_positions(self, row: int) -> np.ndarray:
        """(T,) native frames that evaluation reads."""
        sampling = self.settings.sampling
        return test_positions(self._num_frames(row), sampling.num_frames, sampling.grid)

    def frames(self, row: int, positions: np.ndarray) -> np.ndarray:
        """(len(positions), H, W, 3) uint8, as decoded."""
        return read_frames(self.catalog.file(row), positions, self.settings.data.decoder)

    def evaluate(self, row: int) -> Tensor:
        """(T, 3, C, C) float32: the middle of each segment, centre crop. The same every time."""
        return self.transform.evaluate(self.frames(row, self.test_positions(row)))

    def train(self, row: int, rng: np.random.Generator) -> Tensor:
        """(T, 3, C, C) float32: a random position in each segment, one random crop."""
        s = self.settings.sampling
        positions = train_positions(self._num_frames(row), s.num_frames, s.grid, rng, s.min_gap)
        frames = self.frames(row, positions) if self._cache is None else self._cached(row, positions)
        return self.transform.train(frames, rng)

    def _cached(self, row: int, positions: np.ndarray) -> np.ndarray:
        grid = np.unique(grid_positions(self._num_frames(row), self.settings.sampling.grid))
        if row not in self._cache:
            self._cache[row] = self.frames(row, grid)
        return self._cache[row][np.searchsorted(grid, positions)]

    def _num_frames(self, row: int) -> int:
        return int(self.catalog.table["num_frames"].iat[row])


@dataclass(frozen=True)
class EpisodeClips:
    """The clips of one training episode.

    Attributes:
        protocol: name of the kind of episode.
        support: (N * K, T, 3, C, C), class by class.
        query: (N * Q, T, 3, C, C), class by class.
        support_labels, query_labels: int64 in 0..N-1.
        support_films, query_films: int64; versions of one film (a clip and its reversal) bear the same number.
        exchangeable: whether a query clip could be a support clip as well.
    """

    protocol: str
    support: Tensor
    query: Tensor
    support_labels: Tensor
    query_labels: Tensor
    support_films: Tensor
    query_films: Tensor
    exchangeable: bool


class TrainingEpisodes(Dataset):
    """Episode i of training, drawn evenly over the samplers: sampler i mod their number."""

    def __init__(self, reader: ClipReader, samplers: list[EpisodeSampler], num_episodes: int, seed: int) -> None:
        self.reader, self.samplers, self.num_episodes, self.seed = reader, samplers, num_episodes, seed
        table = reader.catalog.table
        self._films = np.unique(table["base"].to_numpy(str), return_inverse=True)[1]
        self._any_role = (table["role"] == "both").to_numpy()

    def __len__(self) -> int:
        return self.num_episodes

    def __getitem__(self, index: int) -> EpisodeClips:
        sampler = self.samplers[index % len(self.samplers)]
        episode = sampler[index]
        parts = {}
        for part, rows in (("support", episode.support), ("query", episode.query)):
            clips = [
                self.reader.train(int(row), generator(self.seed, "clip", index, part, slot))
                for slot, row in enumerate(rows.flat)
            ]
            parts[part] = torch.stack(clips)
            parts[f"{part}_labels"] = torch.arange(sampler.way).repeat_interleave(rows.shape[1])
            parts[f"{part}_films"] = torch.from_numpy(self._films[rows.ravel()])
        exchangeable = bool(self._any_role[episode.query].all())
        return EpisodeClips(sampler.protocol.name, **parts, exchangeable=exchangeable)


class _Evaluated(Dataset):
    def __init__(self, reader: ClipReader, rows: np.ndarray) -> None:
        self.reader, self.rows = reader, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        return self.reader.evaluate(int(self.rows[index]))


def training_loader(dataset: TrainingEpisodes, num_workers: int, start: int = 0) -> DataLoader:
    """Episodes one by one from `start`, decoded ahead by the workers."""
    order = range(start, len(dataset))
    return DataLoader(dataset, batch_size=None, sampler=order, **_workers(num_workers))


def evaluation_loader(reader: ClipReader, rows: np.ndarray, batch_size: int, num_workers: int) -> DataLoader:
    """(n, T, 3, C, C) batches of the catalogue's rows, in their order."""
    return DataLoader(_Evaluated(reader, rows), batch_size=batch_size, **_workers(num_workers))


def _workers(num_workers: int) -> dict[str, object]:
    if not num_workers:
        return {"num_workers": 0}
    # Spawned: OpenMP and decoders do not survive a fork of a process that has used them.
    settings = {"multiprocessing_context": "spawn", "prefetch_factor": 4, "persistent_workers": True}
    return {"num_workers": num_workers, "worker_init_fn": _one_thread, **settings}


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
