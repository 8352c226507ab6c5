"""Closed paths: where they lead, when they rest, and that their law read backwards is what the families promise."""

from __future__ import annotations

import numpy as np
import pytest

from tmal_core.config import load_settings
from tmal_core.data.diagnostic.closed_paths import REST, along, along_by_length, one_turn, rhythm, two_rounds
from tmal_core.data.diagnostic.families import FRAMES, render
from tmal_core.data.diagnostic.generation import generate, write_clip
from tmal_core.data.diagnostic.vocabulary import FAMILIES, all_classes
from tmal_core.data.sets.catalog import SPLITS
from tmal_core.data.video import read_clip
from tmal_core.data.video.sampling import test_positions as middle_positions
from tmal_core.errors import DataError, SettingsError
from tmal_core.runtime.seeding import generator

CLOSED = ("order", "speed", "camera")
NUM = FRAMES - 1  # the last frame repeats the one before it
TRIANGLE = np.array([(0.0, 0.0), (3.0, 0.0), (3.0, 4.0)])


def _draws(law, *more):
    return np.stack([law(generator(0, "law", i), NUM, *more) for i in range(2000)])


@pytest.mark.parametrize(("law", "more", "end"), [(one_turn, (), 3), (rhythm, (4,), 1), (two_rounds, (), 2)])
def test_paths_are_back_where_they_began_at_the_last_sampled_frame(law, more, end):
    first, last = middle_positions(FRAMES, 8, 32)[[0, -1]]
    progress = _draws(law, *more)
    assert (first, last) == (REST, NUM - 1 - REST)
    assert (progress[:, : first + 1] == 0).all() and (progress[:, last:] == end).all()
    assert (np.diff(progress) >= 0).all()


@pytest.mark.parametrize(("law", "end"), [(one_turn, 3), (two_rounds, 2)])
def test_progress_has_the_same_law_read_backwards(law, end):
    """Means and spreads at each frame: five standard errors of 2,000 draws."""
    progress = _draws(law)
    backwards = end - progress[:, ::-1]
    error = np.hypot(progress.std(0), backwards.std(0)) / np.sqrt(len(progress))
    assert (np.abs(progress.mean(0) - backwards.mean(0)) <= 5 * error + 1e-9).all()
    assert np.abs(progress.std(0) - backwards.std(0)).max() < 0.1 * progress.std(0).max()


def test_a_turn_stays_four_times_and_jumps_in_between():
    for progress in _draws(one_turn)[:50]:
        stays = [int((progress == state).sum()) for state in range(4)]
        assert sum(stays) == NUM - 9 and min(stays) >= 3 and min(stays[1:3]) >= 6
        assert np.allclose(np.diff(progress)[np.diff(progress) > 0], 0.25)


@pytest.mark.parametrize("parts", [2, 4])
def test_a_rhythm_is_fast_and_slow_by_turns_and_its_reversal_the_other_way_round(parts):
    progress = rhythm(generator(0, "rhythm"), NUM, parts)
    middles = np.round(REST + (np.arange(parts) + 0.5) * (NUM - 1 - 2 * REST) / parts).astype(int)
    steps = np.diff(progress)[middles]
    assert (steps[0::2] > 3 * steps[1::2]).all()
    backwards = np.diff(1 - progress[::-1])[middles]
    assert (backwards[1::2] > 3 * backwards[0::2]).all()


def test_points_of_a_polygon():
    assert along(TRIANGLE, np.array([0, 0.5, 2, 2.5, 3, -1])).tolist() == [
        [0, 0], [1.5, 0], [3, 4], [1.5, 2], [0, 0], [3, 4],
    ]  # fmt: skip
    # Of 12 pixels round: 3 to the right, 4 down, 5 back.
    assert np.allclose(along_by_length(TRIANGLE, np.array([0, 0.25, 7 / 12, 1.25])), [(0, 0), (3, 0), (3, 4), (3, 0)])
    steps = np.diff(along_by_length(TRIANGLE, np.linspace(0, 1, 1201)), axis=0)
    assert np.allclose(np.linalg.norm(steps, axis=1), 0.01)


@pytest.mark.parametrize("family", CLOSED)
def test_twins_decode_to_the_same_frames_reversed(family, tmp_path):
    for action in FAMILIES[family]()[:56:12]:
        forward, backward = _decoded(render(action, generator(0, family, action.name)), tmp_path)
        assert len(forward) == FRAMES and np.array_equal(forward[:-1], backward[:-1][::-1])
        assert np.array_equal(forward[-1], forward[-2]) and not np.array_equal(forward, backward)


@pytest.mark.parametrize("family", CLOSED)
def test_pairs_are_a_class_and_its_reversal_in_one_split(family):
    classes = FAMILIES[family]()
    for first, second in zip(classes[::2], classes[1::2], strict=True):
        assert (first.group, first.split) == (second.group, second.split) and first.name != second.name
        assert second.parts == {**first.parts, "direction": "backward"}
    assert len({action.group for action in classes}) == 28


def test_the_ground_tells_when_the_camera_goes(tmp_path):
    """The median pixel is ground: it changes between neighbouring samples while the camera goes, not before."""
    positions = middle_positions(FRAMES, 8, 32)
    for action in FAMILIES["camera"]()[:56:8]:
        clips = _decoded(render(action, generator(1, action.name)), tmp_path)
        for clip, camera_first in zip(clips, (False, True), strict=True):
            changes = np.median(np.abs(np.diff(clip[positions].astype(float), axis=0)).mean(3), axis=(1, 2))
            early, late = changes[:3].sum(), changes[4:].sum()
            assert (early > 1.5 * late) if camera_first else (late > 1.5 * early)


def test_a_data_set_is_made_of_the_families_that_are_named(tmp_path):
    families, clips = ("camera",), dict.fromkeys(SPLITS, 1)
    made = generate(tmp_path / "one", 0, clips, 1, progress=False, families=families)
    assert set(made.table["class_name"]) == {action.name for action in all_classes(families)}
    assert (made.table.groupby("base").size() == 2).all()
    with pytest.raises(DataError, match=r"expected a data set of .*, got one of .*'families': \['camera'\].*or choose"):
        generate(tmp_path / "one", 0, clips, 1, progress=False)


@pytest.mark.parametrize("wrong", [[], ["order", "order"], ["order", "colour"]])
def test_wrong_families_are_told(wrong):
    expected = r"at least one family, each of them once|'appearance', 'order', 'speed', 'camera', 'motion'"
    with pytest.raises(SettingsError, match=rf"data\.families.*({expected})"):
        load_settings("tiny", {"data.families": wrong})


def _decoded(files, folder):
    clips = []
    for role in ("forward", "backward"):
        write_clip(folder / f"{role}.mp4", files[role])
        clips.append(read_clip(folder / f"{role}.mp4"))
    return clips
