"""Clips as models read them: which frames, from which file, cropped how. Training and evaluation read through here.

Letters: n clips, T frames, C crop in pixels; N way, K shot, Q queries per class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tmal_core.config import SamplingSettings
from tmal_core.data.episodes import EpisodeSampler
from tmal_core.data.sets.catalog import Catalog
from tmal_core.data.video import read_frames
from tmal_core.data.video.reference_frames import reference_segments, reference_stride
from tmal_core.data.video.sampling import grid_positions, test_positions, train_positions
from tmal_core.data.video.transforms import CLIP_MEAN, CLIP_STD, ClipTransform, grey_difference
from tmal_core.errors import DataError, SettingsError, TmalError
from tmal_core.runtime.devices import Loader
from tmal_core.runtime.files import file_sha256
from tmal_core.runtime.seeding import generator


class Clip(NamedTuple):
    """What a model reads of a video."""

    frames: Tensor  # (T, 3, C, C) float32, normalised
    # From each frame to the next native one, float32: flow (T, 2, C, C) in pixels of the crop, or (T, 1, C, C) the grey
    # difference in -1..1, for methods that read it in flow's place.
    flow_px: Tensor | None = None


class FlowSource(Protocol):
    """What reads flow by row and positions: frames know nothing of where it comes from."""

    estimator: str

    @property
    def num_videos(self) -> int:
        """Rows that it may have flow of."""

    def read(self, row: int, positions: np.ndarray | None = None) -> Any:
        """Flow `flow_px` (T, 2, h, w) over the whole frame of `frame_size`."""


class ClipReader:
    """Reads the clips of a catalogue. Holds no open file, so any worker may use it.

    Args:
        sampling: which frames of the videos, cropped how.
        decoder: as for `read_frames`.
        cache: keep what is decoded: for `train` all frames (and flow) that may be drawn, for `evaluate` its T frames.
        flow: reader of the catalogue's stored flow (`tmal_core.flow.reader`), where clips come with it.
        differences: whether clips come with grey differences in place of flow.
        views: samples of a video in evaluation; of `segments` 1 is the middle of each, more are random.
        seed: of random views.
        mean, std: by which the model's pictures are normalised, as of `ClipTransform`.
    """

    def __init__(
        self,
        catalog: Catalog,
        sampling: SamplingSettings,
        decoder: str = "auto",
        *,
        cache: bool = False,
        flow: FlowSource | None = None,
        differences: bool = False,
        views: int = 1,
        seed: int = 0,
        mean: tuple[float, ...] = CLIP_MEAN,
        std: tuple[float, ...] = CLIP_STD,
    ) -> None:
        self.catalog, self.sampling, self.decoder = catalog, sampling, decoder
        self.views, self.seed = views, seed
        self._cache, self._flow, self._differences = cache, flow, differences
        self._grids: dict[int, _Decoded] = {}
        self._views: dict[tuple[int, int], _Decoded] = {}  # by row and view
        self._unchanged: dict[int, tuple[int, int]] = {}
        self.transform = ClipTransform(sampling.resize, sampling.crop, sampling.flip, sampling.fit, mean, std)

    @property
    def with_flow(self) -> bool:
        """Whether clips come with flow."""
        return self._flow is not None

    @property
    def with_motion(self) -> bool:
        """Whether clips come with flow or with differences in its place."""
        return self.with_flow or self._differences

    @property
    def flow_origin(self) -> str | None:
        """The estimator of the clips' flow, or that it is no flow but differences."""
        return self._flow.estimator if self._flow is not None else "difference" if self._differences else None

    @property
    def draws_views(self) -> bool:
        """Whether the frames that evaluation reads depend on the seed."""
        return self.sampling.scheme == "reference_segments" or (self.sampling.scheme == "segments" and self.views > 1)

    def with_frames(self, num_frames: int) -> ClipReader:
        """One that reads another number of frames of each clip, and keeps nothing.

        Raises:
            SettingsError: the sampling's grid gives no such number.
        """
        if self.sampling.grid != "all" and self.sampling.grid % num_frames:
            got, remedy = str(num_frames), "Choose a number that divides sampling.grid."
            raise SettingsError(f"a number of frames that divides the grid of {self.sampling.grid}", got, remedy)
        other = copy(self)
        other.sampling = self.sampling.model_copy(update={"num_frames": num_frames})
        other._cache, other._views, other._grids = False, {}, {}
        return other

    def of(self, catalog: Catalog, flow: Callable[[FlowSource], FlowSource]) -> ClipReader:
        """The same for another catalogue; `flow` makes its source of flow of this one's, where there is one."""
        other = copy(self)
        other.catalog, other._views, other._grids, other._unchanged = catalog, {}, {}, {}
        other._flow = None if self._flow is None else flow(self._flow)
        return other

    def test_positions(self, row: int, view: int = 0) -> np.ndarray:
        """(T,) native frames that evaluation reads in one of the views, by `sampling.scheme`."""
        if self.draws_views:
            return self.train_positions(row, generator(self.seed, "view", self.catalog.table["video"].iat[row], view))
        s, num_frames = self.sampling, self._num_frames(row)
        if s.scheme == "segments":
            return test_positions(num_frames, s.num_frames, s.grid)
        return reference_stride(num_frames, s.num_frames, self._fps(row))

    def train_positions(self, row: int, rng: np.random.Generator) -> np.ndarray:
        """(T,) native frames of one random sample, by `sampling.scheme`."""
        s, num_frames = self.sampling, self._num_frames(row)
        if s.scheme == "segments":
            return train_positions(num_frames, s.num_frames, s.grid, rng, s.min_gap)
        if s.scheme == "reference_segments":
            return reference_segments(num_frames, s.num_frames, rng)
        return reference_stride(num_frames, s.num_frames, self._fps(row), rng)

    def frames(self, row: int, positions: np.ndarray) -> np.ndarray:
        """(len(positions), H, W, 3) uint8, as decoded.

        Raises:
            DataError: the file cannot be read, or is another one than when the data set was prepared.
        """
        path = self.catalog.file(row)
        with suppress(OSError):  # reading it as a video says what is wrong
            self._require_unchanged(row, path)
        return read_frames(path, positions, self.decoder)

    def _require_unchanged(self, row: int, path: Path) -> None:
        """Each state of a file (size, time of change) is hashed once: about a hundredth of what decoding it takes."""
        stat = path.stat()
        state = stat.st_size, stat.st_mtime_ns
        if self._unchanged.get(row) != state:
            found, wanted = file_sha256(path), self.catalog.table["sha256"].iat[row]
            if found != wanted:
                remedy = "It changed after the data set was prepared: put it back, or prepare the data set again."
                raise DataError(f"{path} with sha256 {wanted[:12]}...", f"{found[:12]}...", remedy)
            self._unchanged[row] = state

    def evaluate(self, row: int, view: int = 0) -> Clip:
        """One view of a video, centre crop. The same every time."""
        decoded = self._views.get((row, view)) or self._read(row, self.test_positions(row, view))
        if self._cache:
            self._views[row, view] = decoded
        return self._cropped(decoded, None)

    def train(self, row: int, rng: np.random.Generator, augmented: bool = False) -> Clip:
        """One random sample of frames, one random crop; `augmented` as of `ClipTransform.plan`."""
        positions = self.train_positions(row, rng)
        decoded = self._cached(row, positions) if self._cache else self._read(row, positions)
        return self._cropped(decoded, rng, augmented)

    def _read(self, row: int, positions: np.ndarray) -> _Decoded:
        last = self._num_frames(row) - 1
        # Behind the last frame, which the reference's schemes may draw, there is no motion: the one that leads to it.
        starts = np.minimum(positions, max(last - 1, 0))
        if self._differences:
            asked, at = np.unique([positions, starts, np.minimum(starts + 1, last)], return_inverse=True)
            decoded, (own, first, second) = self.frames(row, asked), at.reshape(3, -1)
            others = None if np.array_equal(own, first) else decoded[first]
            return _Decoded(decoded[own], first=others, second=decoded[second])
        frames = self.frames(row, positions)
        if self._flow is None:
            return _Decoded(frames)
        stored = self._flow.read(row, starts)
        return _Decoded(frames, stored.flow_px, stored.frame_size)

    def _cached(self, row: int, positions: np.ndarray) -> _Decoded:
        s, num_frames = self.sampling, self._num_frames(row)
        on_grid = s.scheme == "segments"
        drawn_from = np.unique(grid_positions(num_frames, s.grid)) if on_grid else np.arange(num_frames)
        if row not in self._grids:
            whole = self._read(row, drawn_from)
            # Stored flow comes from eight bits a component: half precision loses nothing that was there.
            flow = None if whole.flow_px is None else whole.flow_px.astype(np.float16)
            self._grids[row] = whole._replace(flow_px=flow)
        whole, at = self._grids[row], np.searchsorted(drawn_from, positions)
        chosen: Any = {name: part[at] for name, part in whole._asdict().items() if isinstance(part, np.ndarray)}
        return whole._replace(**chosen)

    def _cropped(self, decoded: _Decoded, rng: np.random.Generator | None, augmented: bool = False) -> Clip:
        height, width = decoded.frames.shape[1:3]
        plan = self.transform.plan(height, width, rng, augmented)
        frames = self.transform.apply_frames(decoded.frames, plan)
        if decoded.second is not None:
            first = frames if decoded.first is None else self.transform.apply_frames(decoded.first, plan)
            second = self.transform.apply_frames(decoded.second, plan)
            return Clip(frames, grey_difference(first, second, self.transform.std))
        if decoded.flow_px is None:
            return Clip(frames)
        return Clip(frames, self.transform.apply_flow(decoded.flow_px, plan, decoded.frame_size))

    def _num_frames(self, row: int) -> int:
        return int(self.catalog.table["num_frames"].iat[row])

    def _fps(self, row: int) -> float:
        return float(self.catalog.table["fps"].iat[row])


class _Decoded(NamedTuple):
    """Frames (T, H, W, 3) uint8 and flow (T, 2, h, w) of one video, and the size that flow is measured in; where
    differences are read the frames that they lead from, if these are others, and those that they lead to."""

    frames: np.ndarray
    flow_px: np.ndarray | None = None
    frame_size: tuple[int, int] = (0, 0)
    first: np.ndarray | None = None
    second: np.ndarray | None = None


@dataclass(frozen=True)
class EpisodeClips:
    """The clips of one training episode, support first, each part class by class; n = N * (K + Q) in all."""

    episode_type: str  # its name
    num_support: int  # N * K
    frames: Tensor  # (n, T, 3, C, C)
    flow_px: Tensor | None  # (n, T, 2 or 1, C, C) as of `Clip`, or None where the model reads no motion
    labels: Tensor  # (n,) int64 in 0..N-1
    classes: Tensor  # (N,) int64, the classes' numbers among all classes of the split
    bases: Tensor  # (n,) int64; versions of one base (a clip and its reversal) bear the same number
    named: Tensor  # (n,) bool, whether a clip shows all that its class's name says (a support-only file may not)
    exchangeable: bool  # whether a query clip could be a support clip as well

    def pin_memory(self) -> EpisodeClips:
        """A copy whose clips the GPU can fetch by itself; the loader calls this."""
        flow_px = None if self.flow_px is None else self.flow_px.pin_memory()
        return replace(self, frames=self.frames.pin_memory(), flow_px=flow_px)


class TrainingEpisodes(Dataset):
    """Episode i of training, drawn evenly over the samplers: sampler i mod their number."""

    def __init__(self, reader: ClipReader, samplers: list[EpisodeSampler], num_episodes: int, seed: int) -> None:
        self.reader, self.samplers, self.num_episodes, self.seed = reader, samplers, num_episodes, seed
        table = reader.catalog.table
        self.class_names = sorted(table["class_name"].unique())  # of the split; `EpisodeClips.classes` counts them
        self._class_numbers = {name: number for number, name in enumerate(self.class_names)}
        self._bases = np.unique(table["base"].to_numpy(str), return_inverse=True)[1]
        self._role = table["role"].to_numpy(str)

    def __len__(self) -> int:
        return self.num_episodes

    def __getitem__(self, index: int) -> EpisodeClips:
        sampler = self.samplers[index % len(self.samplers)]
        episode = sampler[index]
        parts = {"support": episode.support, "query": episode.query}
        augmented = {"query"} if self.reader.sampling.augment_queries else set()
        clips = [
            self.reader.train(int(row), generator(self.seed, "clip", index, part, slot), part in augmented)
            for part, rows in parts.items()
            for slot, row in enumerate(rows.flat)
        ]
        rows = np.concatenate([part.ravel() for part in parts.values()])
        labels = [np.arange(sampler.way).repeat(part.shape[1]) for part in parts.values()]
        return EpisodeClips(
            episode_type=sampler.episode_type.name,
            num_support=episode.support.size,
            labels=torch.from_numpy(np.concatenate(labels)),
            classes=torch.tensor([self._class_numbers[name] for name in episode.classes]),
            bases=torch.from_numpy(self._bases[rows]),
            named=torch.from_numpy(self._role[rows] != "support"),
            exchangeable=bool((self._role[episode.query] == "both").all()),
            **stacked(clips)._asdict(),
        )


class _Evaluated(Dataset):
    """View by view, in each the rows in their order."""

    def __init__(self, reader: ClipReader, rows: np.ndarray) -> None:
        self.reader, self.rows = reader, rows

    def __len__(self) -> int:
        return len(self.rows) * self.reader.views

    def __getitem__(self, index: int) -> Clip:
        view, at = divmod(index, len(self.rows))
        return self.reader.evaluate(int(self.rows[at]), view)


def training_loader(dataset: TrainingEpisodes, num_workers: int, start: int = 0, device: str = "cpu") -> Loader:
    """Episodes one by one from `start`, decoded ahead by the workers; in pinned memory where they go to a GPU."""
    order = range(start, len(dataset))
    return Loader(dataset, num_workers, batch_size=None, sampler=order, **_options(num_workers, device))


def evaluation_loader(
    reader: ClipReader, rows: np.ndarray, batch_size: int, num_workers: int, device: str = "cpu"
) -> Loader:
    """Batches of the catalogue's rows, in their order and view by view: clips with one more dimension in front."""
    options = {"batch_size": batch_size, "collate_fn": _batch, **_options(num_workers, device)}
    return Loader(_Evaluated(reader, rows), num_workers, **options)


def _batch(clips: list[Clip | TmalError]) -> Clip | TmalError:
    """One batch, or the first error among its clips."""
    read = [clip for clip in clips if isinstance(clip, Clip)]
    return stacked(read) if len(read) == len(clips) else next(clip for clip in clips if not isinstance(clip, Clip))


def stacked(clips: Sequence[Clip]) -> Clip:
    """Clips as one, with one more dimension in front."""
    flow = [clip.flow_px for clip in clips if clip.flow_px is not None]
    return Clip(torch.stack([clip.frames for clip in clips]), torch.stack(flow) if flow else None)


def _options(num_workers: int, device: str) -> dict[str, Any]:
    """Pinned memory for a GPU; how far workers read ahead, which DataLoader takes only where there are some."""
    ahead = {"prefetch_factor": 4, "persistent_workers": True} if num_workers else {}
    return {"pin_memory": device == "cuda", **ahead}
