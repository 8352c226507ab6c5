"""What each family promises, held on decoded files wherever a file is what counts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tmal_core.data.diagnostic import families
from tmal_core.data.diagnostic.families import FRAMES, LIFETIME, render
from tmal_core.data.diagnostic.generation import write_clip
from tmal_core.data.diagnostic.vocabulary import FAMILIES, all_classes
from tmal_core.data.video import read_clip
from tmal_core.data.video.sampling import test_positions as middle_positions
from tmal_core.data.video.sampling import train_positions
from tmal_core.runtime.seeding import generator


def _rows(catalog, family, split="train"):
    return catalog.select(split, family)


def test_files_decode_to_what_was_rendered(small_data):
    """Compression changes colours a little, never the number of frames or where things are."""
    chosen = small_data.table.groupby(["family", "role"]).head(1)
    by_name = {action.name: action for action in all_classes()}
    for _, row in chosen.iterrows():
        decoded = read_clip(small_data.root / row["path"]).astype(float)
        assert len(decoded) == row["num_frames"]
        if row["family"] != "order":
            rng = generator(0, row["family"], row["class_name"], int(row["video"].split("/")[-1][:3]))
            frames = render(by_name[row["class_name"]], rng)[row["role"]]
            assert np.abs(decoded - frames).mean() < 8


def test_order_twins_decode_to_the_same_frames_reversed(small_data):
    order = _rows(small_data, "order").table
    for base in order["base"].unique()[:6]:
        paths = order.loc[order["base"] == base, "path"]
        forward, backward = (read_clip(small_data.root / path) for path in paths)
        assert np.array_equal(forward[:-1], backward[:-1][::-1])
        # The last frame repeats the one before it: the set of contents is the same, to the bit.
        assert np.array_equal(forward[-1], forward[-2])
        assert np.array_equal(backward[-1], backward[-2])
        assert not np.array_equal(forward[:-1], backward[:-1])


def test_order_twins_give_the_same_sampled_frames_in_opposite_order(small_data):
    order = _rows(small_data, "order").table
    paths = order.loc[order["base"] == order["base"].iloc[0], "path"]
    forward, backward = (read_clip(small_data.root / path) for path in paths)
    positions = middle_positions(FRAMES, 8, 32)
    assert np.array_equal(forward[positions], backward[positions][::-1])


def test_semantic_support_is_the_common_beginning(small_data):
    semantic = _rows(small_data, "semantic").table
    for base in semantic["base"].unique()[:4]:
        files = semantic[semantic["base"] == base].set_index("role")["path"]
        support, query = (read_clip(small_data.root / files[role]) for role in ("support", "query"))
        assert np.array_equal(support, query[: len(support)])


def test_semantic_support_does_not_know_its_class():
    """Classes that share a beginning draw the very same support clip from the same stream."""
    groups = {}
    for action in FAMILIES["semantic"]():
        groups.setdefault(action.group, []).append(action)
    for first, second, *_ in groups.values():
        one, two = (render(action, generator(0, "same")) for action in (first, second))
        assert np.array_equal(one["support"], two["support"])
        assert not np.array_equal(one["query"], two["query"])


def test_motion_dots_never_outlive_the_gap_between_samples():
    rng = generator(0, "dots")
    field = families._DotField(rng, 300, 100, 50)
    frames = [set(map(tuple, field.at(t, np.zeros(2))[0])) for t in range(FRAMES)]
    assert all(frames[t] & frames[t + LIFETIME - 1] for t in range(FRAMES - LIFETIME))
    assert not any(frames[t] & frames[u] for t in range(FRAMES) for u in range(t + LIFETIME, FRAMES))


def test_sampled_frames_keep_the_gap():
    for seed in range(200):
        for count in (FRAMES,):
            drawn = train_positions(count, 8, 32, generator(0, seed), min_gap=4)
            assert np.diff(drawn).min() > LIFETIME
    assert np.diff(middle_positions(FRAMES, 8, 32)).min() > LIFETIME


def _spectrum(frames: np.ndarray) -> np.ndarray:
    """Power spectrum and coarse pixels of grey pictures (n, H, W): what a single frame could give away."""
    centred = frames - frames.mean((1, 2), keepdims=True)
    power = np.log1p(np.abs(np.fft.rfft2(centred))[:, :12, :12]).reshape(len(frames), -1)
    coarse = centred.reshape(len(frames), 8, 9, 8, 9).mean((2, 4)).reshape(len(frames), -1)
    return np.concatenate([power, coarse], 1)


def _ridge_accuracy(features: np.ndarray, labels: np.ndarray, clips: np.ndarray) -> float:
    """Accuracy of a ridge classifier on held-out clips."""
    features = (features - features.mean(0)) / (features.std(0) + 1e-6)
    features = np.concatenate([features, np.ones((len(features), 1))], 1)
    held_out = clips % 3 == 0
    x, y = features[~held_out], np.eye(labels.max() + 1)[labels[~held_out]]
    weights = np.linalg.solve(x.T @ x + 30.0 * np.eye(x.shape[1]), x.T @ y)
    return float(((features[held_out] @ weights).argmax(1) == labels[held_out]).mean())


@pytest.fixture(scope="module")
def motion_clips(tmp_path_factory):
    """60 grey clips, decoded, of each of four straight-ahead directions: (240, F, H, W), labels."""
    file = tmp_path_factory.mktemp("motion") / "clip.mp4"
    wanted = [("up", "up and right"), ("right", "down and right"), ("down", "down and left"), ("left", "up and left")]
    by_parts = {(a.parts["first"], a.parts["second"]): a for a in FAMILIES["motion"]()}
    clips, labels = [], []
    for label, pair in enumerate(wanted):
        for clip in range(60):
            write_clip(file, render(by_parts[pair], generator(3, "motion", label, clip))["both"])
            clips.append(read_clip(file)[..., 0])
            labels.append(label)
    return np.stack(clips).astype(np.float32), np.array(labels)


def test_motion_is_hidden_from_single_frames_and_from_the_sampled_frames(motion_clips):
    clips, labels = motion_clips
    positions = middle_positions(FRAMES, 8, 32)
    numbers = np.arange(len(labels))
    single = _ridge_accuracy(_spectrum(clips[:, positions[3]]), labels, numbers)
    pairs = [clips[:, a] * clips[:, b] / 128 for a, b in pairwise(positions)]
    sampled = np.concatenate([_spectrum(picture) for picture in [*(clips[:, p] for p in positions), *pairs]], 1)
    eight = _ridge_accuracy(sampled, labels, numbers)
    # 80 held-out clips at a chance of 25 %: 40 % is three standard errors away.
    assert single < 0.40
    assert eight < 0.40


def test_motion_shows_between_neighbouring_frames(motion_clips):
    """The same classifier reads the direction from one pair of neighbours: the test above can fail."""
    clips, labels = motion_clips
    first, second = clips[:, 10], clips[:, 11]
    first, second = (x - x.mean((1, 2), keepdims=True) for x in (first, second))
    correlation = np.fft.irfft2(np.conj(np.fft.rfft2(first)) * np.fft.rfft2(second))
    near = np.roll(correlation, (4, 4), (1, 2))[:, :9, :9].reshape(len(labels), -1)
    assert _ridge_accuracy(near, labels, np.arange(len(labels))) > 0.8
