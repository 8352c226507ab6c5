"""Clips come from the videos that were prepared, and from no others."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tmal_core.data import clips
from tmal_core.data.clips import ClipReader, TrainingEpisodes, evaluation_loader, training_loader
from tmal_core.data.episodes import Episode, EpisodeType
from tmal_core.data.sets.catalog import Catalog
from tmal_core.data.video.reference_frames import reference_stride
from tmal_core.data.video.transforms import CLIP_MEAN, CLIP_STD, ClipTransform
from tmal_core.errors import DataError, RunError


@pytest.fixture
def reader(small_settings, small_data, tmp_path) -> ClipReader:
    """Of two videos in a folder of their own."""
    table = small_data.table.head(2).reset_index(drop=True)
    for path in table["path"]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(small_data.root / path, tmp_path / path)
    return ClipReader(Catalog(tmp_path, table), small_settings.sampling)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def test_a_video_that_changed_since_it_was_prepared_is_refused(reader):
    """By another video, of the same size and length: nothing but its hash tells."""
    path = reader.catalog.file(0)
    before = _hash(path)
    shutil.copy(reader.catalog.file(1), path)
    message = rf"expected {path} with sha256 {before}\.\.\., got {_hash(path)}\.\.\.\. It changed after"
    for read in (lambda: reader.evaluate(0), lambda: reader.train(0, np.random.default_rng(0))):
        with pytest.raises(DataError, match=message):
            read()
    reader.evaluate(1)


def test_a_video_that_changes_while_it_is_used_is_refused(reader):
    path = reader.catalog.file(0)
    reader.evaluate(0)
    shutil.copy(reader.catalog.file(1), path)
    with pytest.raises(DataError, match="with sha256"):
        reader.evaluate(0)


def test_a_video_that_was_only_touched_is_read(reader):
    first = reader.evaluate(0)
    os.utime(reader.catalog.file(0), (1, 1))
    assert np.array_equal(reader.evaluate(0).frames, first.frames)


def test_a_file_is_hashed_once(reader, monkeypatch):
    reader.evaluate(0)
    monkeypatch.setattr(clips, "file_sha256", lambda path: pytest.fail("hashed again"))
    reader.evaluate(0)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_errors_come_through_workers_as_they_are(reader, num_workers):
    """Real presets decode in workers, and a DataLoader makes a RuntimeError of an error that it cannot rebuild."""
    path = reader.catalog.file(1)
    path.write_bytes(b"another file")
    loader = evaluation_loader(reader, np.arange(2), batch_size=2, num_workers=num_workers)
    with pytest.raises(DataError, match=rf"{path} with sha256"):
        list(loader)
    samplers = [_SameRows()]
    episodes = TrainingEpisodes(reader, samplers, num_episodes=2, seed=0)
    with pytest.raises(DataError, match=rf"{path} with sha256"):
        list(training_loader(episodes, num_workers))


@pytest.fixture
def of_scheme(reader, small_settings):
    """Makes a reader of the same two videos whose frames the reference's scheme chooses."""

    def of_scheme(scheme: str, **options) -> ClipReader:
        changes = {"sampling.scheme": scheme, "sampling.min_gap": 0, "sampling.grid": "all"}
        return ClipReader(reader.catalog, small_settings.replace(changes).sampling, **options)

    return of_scheme


def test_the_reference_s_segments_are_random_at_test_and_the_same_each_time(of_scheme):
    found = of_scheme("reference_segments", views=3, seed=5)
    views = [found.test_positions(0, view) for view in range(3)]
    size = int(found.catalog.table["num_frames"][0]) // 8
    first = np.arange(8) * size
    assert all(((positions >= first) & (positions < first + size)).all() for positions in views)
    assert len({tuple(positions) for positions in views}) == 3
    alone, other = (of_scheme("reference_segments", seed=seed) for seed in (5, 6))
    assert np.array_equal(alone.test_positions(0), views[0]) and alone.draws_views
    assert not np.array_equal(other.test_positions(0), views[0])
    assert not np.array_equal(alone.test_positions(1), views[0])
    assert torch.equal(alone.evaluate(0).frames, alone.evaluate(0).frames)


def test_the_reference_s_stride_is_fixed_at_test_and_knows_the_rate(of_scheme):
    found = of_scheme("reference_stride")
    table = found.catalog.table
    wanted = reference_stride(int(table["num_frames"][0]), 8, float(table["fps"][0]))
    assert np.array_equal(found.test_positions(0), wanted) and not found.draws_views
    assert len({tuple(found.train_positions(0, np.random.default_rng(seed))) for seed in range(20)}) > 1
    table.loc[0, "fps"] = 1.0
    assert found.test_positions(0).tolist() != wanted.tolist()


@pytest.mark.parametrize("scheme", ["reference_segments", "reference_stride"])
def test_kept_clips_are_those_that_are_read(of_scheme, scheme):
    """The reference's frames may lie outside the grid."""
    kept, read = of_scheme(scheme, cache=True), of_scheme(scheme)
    for seed in range(6):
        one, other = (reader.train(0, np.random.default_rng(seed)).frames for reader in (kept, read))
        assert torch.equal(one, other)


@pytest.mark.parametrize("cache", [False, True])
def test_the_last_frame_comes_with_the_motion_that_leads_to_it(of_scheme, cache, monkeypatch):
    """`reference_segments` may draw it, and no motion begins there."""
    asked = []

    class Flow:
        estimator = "dis"

        def read(self, row, positions):
            asked.append(positions.max())
            flow_px = np.zeros((len(positions), 2, 4, 4), np.float32) + positions.reshape(-1, 1, 1, 1)
            return SimpleNamespace(flow_px=flow_px, frame_size=(64, 64))

    found = of_scheme("reference_segments", flow=Flow(), cache=cache)
    last = int(found.catalog.table["num_frames"][0]) - 1
    drawn = np.array([0, 5, 9, 14, 20, 25, 31, last])
    monkeypatch.setattr(clips, "reference_segments", lambda *_: drawn)
    flow_px = found.train(0, np.random.default_rng(0)).flow_px
    scale = found.sampling.resize / 64
    np.testing.assert_allclose(flow_px[:, 0, 30, 30] / scale, [*drawn[:-1], last - 1], rtol=1e-3)
    assert asked == [last - 1]


@pytest.mark.parametrize("fit", ["crop", "squash"])
@pytest.mark.parametrize("drawn", ["test", "training", "augmented"])
def test_differences_are_those_of_the_frames_that_flow_is_between(reader, small_settings, fit, drawn):
    """Both frames go through the very plan of the clip: resized, cut out and flipped as its frames are."""
    sampling = small_settings.replace({"sampling.fit": fit, "sampling.flip": drawn != "test"}).sampling
    found = ClipReader(reader.catalog, sampling, differences=True)
    plain = ClipReader(reader.catalog, sampling)
    assert found.with_motion and not found.with_flow and found.flow_origin == "difference"
    plans, plan_of = [], ClipTransform.plan
    for seed in range(3):
        rng = None if drawn == "test" else np.random.default_rng(seed)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ClipTransform, "plan", lambda *given: plans.append(plan_of(*given)) or plans[-1])
            clip = found.evaluate(0) if rng is None else found.train(0, rng, drawn == "augmented")
        rng = np.random.default_rng(seed)
        positions = plain.test_positions(0) if drawn == "test" else plain.train_positions(0, rng)
        shown = [plain.transform.apply_frames(plain.frames(0, positions + step), plans[-1]) for step in (0, 1)]
        assert torch.equal(clip.frames, shown[0])
        mean, std = (torch.tensor(value).view(3, 1, 1) for value in (CLIP_MEAN, CLIP_STD))
        red, green, blue = ((shown[1] * std + mean) - (shown[0] * std + mean)).unbind(1)
        wanted = 0.299 * red + 0.587 * green + 0.114 * blue
        torch.testing.assert_close(clip.flow_px, wanted[:, None], atol=1e-5, rtol=1e-4)
        assert (clip.flow_px.abs().amax((1, 2, 3)) > 0.01).sum() > 4, "something moves but in the pauses"
    assert any(plan.flip for plan in plans) == (drawn != "test")


@pytest.mark.parametrize("cache", [False, True])
def test_behind_the_last_frame_there_is_the_difference_that_leads_to_it(of_scheme, cache, monkeypatch):
    found = of_scheme("reference_segments", differences=True, cache=cache)
    last = int(found.catalog.table["num_frames"][0]) - 1
    noise = np.random.default_rng(0).integers(0, 256, (last + 1, 72, 72, 3), np.uint8)  # the clip's own end is a pause
    monkeypatch.setattr(found, "frames", lambda _, positions: noise[positions])
    monkeypatch.setattr(clips, "reference_segments", lambda *_: np.array([0, 5, 9, 14, 20, 25, last - 1, last]))
    for clip in (found.train(0, np.random.default_rng(0)), found.evaluate(0)):
        assert torch.equal(clip.flow_px[6], clip.flow_px[7]) and not torch.equal(clip.flow_px[5], clip.flow_px[6])
        assert not torch.equal(clip.frames[6], clip.frames[7])
    found.catalog.table.loc[0, "num_frames"] = 1
    monkeypatch.setattr(clips, "reference_segments", lambda *_: np.zeros(8, int))
    if not cache:  # a single frame has no neighbour
        assert not found.train(0, np.random.default_rng(0)).flow_px.any()


def test_kept_differences_are_those_that_are_read(reader):
    kept, read = (ClipReader(reader.catalog, reader.sampling, differences=True, cache=cache) for cache in (True, False))
    for seed in range(4):
        one, other = (each.train(0, np.random.default_rng(seed)) for each in (kept, read))
        assert torch.equal(one.frames, other.frames) and torch.equal(one.flow_px, other.flow_px)
    for _ in range(2):
        assert torch.equal(kept.evaluate(1).flow_px, read.evaluate(1).flow_px)


def test_queries_alone_are_augmented(reader, small_settings):
    changed = small_settings.replace({"sampling.augment_queries": True, "training.rotate": False}).sampling
    catalog = Catalog(reader.catalog.root, reader.catalog.table.assign(class_name=["a", "b"]))
    augmented, plain = (
        TrainingEpisodes(ClipReader(catalog, s), [_SameRows()], num_episodes=3, seed=0)
        for s in (changed, small_settings.sampling)
    )
    for index in range(3):
        one, other = (episodes[index].frames for episodes in (augmented, plain))
        assert torch.equal(one[:2], other[:2]), "support"
        assert all(not torch.allclose(one[slot], other[slot], atol=0.05) for slot in (2, 3))
        assert torch.equal(one, augmented[index].frames)


class _SameRows:
    """A sampler of one episode: row 0 against row 1."""

    way, episode_type = 2, EpisodeType("all", ("appearance",), grouped=False)

    def __getitem__(self, index: int) -> Episode:
        return Episode(("a", "b"), np.array([[0], [1]]), np.array([[0], [1]]))


def test_a_worker_that_dies_is_an_error_of_ours(reader, monkeypatch):
    loader = evaluation_loader(reader, np.arange(2), batch_size=1, num_workers=0)
    dead = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    def killed(self):
        raise dead
        yield

    monkeypatch.setattr(DataLoader, "__iter__", killed)
    with pytest.raises(RunError, match=r"workers that live, got DataLoader worker \(pid 7\) .*compute\.num_workers"):
        list(loader)
    dead.args = ("a defect of ours",)
    with pytest.raises(RuntimeError, match="a defect of ours"):
        list(loader)


def test_workers_end_when_nobody_wants_more(reader, monkeypatch):
    """Training that stops early leaves workers that read ahead; they must not wait for the garbage collector."""
    ended = []

    class Items:
        def __iter__(self):
            return self

        def __next__(self):
            return 1

        def _shutdown_workers(self):
            ended.append(self)

    monkeypatch.setattr(DataLoader, "__iter__", lambda self: Items())
    loader = iter(evaluation_loader(reader, np.arange(2), batch_size=1, num_workers=0))
    assert next(loader) == 1 and not ended
    del loader
    assert len(ended) == 1


def test_a_video_that_is_gone_is_named(reader):
    path = reader.catalog.file(0)
    path.unlink()
    with pytest.raises(DataError, match=rf"got {path} \(no such file\)"):
        reader.evaluate(0)
