"""Nearest pairs and triples in their order, against all of them listed; the diagonal; sums of matchers."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from tmal_core.config import load_settings, matchers_in
from tmal_core.errors import SettingsError
from tmal_core.matching import breakdown, diagonal, match, match_groups, nearest_tuples, otam, tuples


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def listed(distances: torch.Tensor, sizes: tuple[int, ...] = (2, 3)) -> torch.Tensor:
    """By every tuple of the one clip with every tuple of the other."""
    num_frames, num_support_frames = distances.shape[2:]
    found = []
    for size in sizes:
        rows = torch.tensor(list(combinations(range(num_frames), size)))
        columns = torch.tensor(list(combinations(range(num_support_frames), size)))
        table = distances[:, :, rows[:, None], columns[None]].mean(-1)
        found.append(num_frames * table.amin(3).mean(2) + num_support_frames * table.amin(2).mean(2))
    return torch.stack(found).mean(0)


@pytest.mark.parametrize(("shape", "sizes"), [((3, 2, 8, 8), (2, 3)), ((2, 3, 5, 7), (2, 3)), ((2, 2, 3, 3), (2, 3))])
def test_nearest_tuples_are_those_of_all(shape, sizes):
    distances = drawn(*shape)
    torch.testing.assert_close(tuples(distances), listed(distances, sizes))
    torch.testing.assert_close(tuples(distances), tuples(distances.transpose(2, 3)))


def test_short_clips_have_shorter_tuples():
    distances = drawn(2, 3, 2, 6)
    torch.testing.assert_close(tuples(distances), listed(distances, (2,)))
    alone = drawn(2, 3, 1, 4)
    torch.testing.assert_close(tuples(alone), listed(alone, (1,)))


def test_tuples_by_hand():
    """Two frames: one pair on either side, whose frames are 0.2 and 0.4 apart, whatever lies off the diagonal."""
    distances = torch.tensor([[[[0.2, 0.0], [0.0, 0.4]]]])
    torch.testing.assert_close(tuples(distances), torch.tensor([[1.2]]))  # 2 frames x 0.3, from both sides


def test_what_is_played_backwards_is_something_else():
    """As sets of frames the two are one; no triple of distinct frames comes in the same order."""
    clip = torch.eye(8)[None]
    order = {name: match(clip, clip, name).item() for name in ("bimhm", "tuples", "diagonal")}
    turned = {name: match(clip, clip.flip(1), name).item() for name in order}
    assert turned["bimhm"] == pytest.approx(order["bimhm"])
    assert turned["tuples"] > order["tuples"] + 4 and turned["diagonal"] == pytest.approx(16)


@pytest.mark.parametrize("at_once", [1, 1 << 20])
def test_gradient_of_tuples_is_that_of_all_of_them_listed(monkeypatch, at_once):
    monkeypatch.setattr(nearest_tuples, "_NUMBERS_AT_ONCE_CPU", at_once)
    distances, weights = drawn(2, 2, 4, 5).requires_grad_(), drawn(2, 2, seed=1)
    (found,) = torch.autograd.grad((weights * tuples(distances)).sum(), distances)
    (wanted,) = torch.autograd.grad((weights * listed(distances)).sum(), distances)
    torch.testing.assert_close(found, wanted)
    assert torch.autograd.gradcheck(tuples, distances[:1].detach().requires_grad_())


def test_tuples_keep_one_table_for_the_gradient_and_work_on_some_pairs_at_a_time(monkeypatch):
    """Of 16 frames a pair of clips has 313,600 pairs of triples, and 8,960 numbers on the way to the nearest ones."""
    distances, seen = drawn(6, 5, 16, 16, dtype=torch.float32).requires_grad_(), []
    both_ways = nearest_tuples._both_ways
    monkeypatch.setattr(nearest_tuples, "_NUMBERS_AT_ONCE_CPU", 4 * 560 * 16)
    monkeypatch.setattr(nearest_tuples, "_both_ways", lambda d: seen.append(d.shape[2]) or both_ways(d))
    found = tuples(distances)
    ((joined, _),) = found.grad_fn.next_functions
    kept = [kept.numel() for node, _ in joined.next_functions for kept in node.saved_tensors]
    assert seen == [4] * 7 + [2] and sum(kept) == distances.numel()
    monkeypatch.undo()
    torch.testing.assert_close(found, tuples(distances))


@pytest.mark.parametrize("name", ["bimhm", "diagonal", "tuples", "bimhm+diagonal", "tuples+diagonal+bimhm"])
def test_every_matcher_adds_up_as_many_cosines(name):
    """T + U of them, so frames that are all 0.3 apart make clips that are 0.3 x 16 apart."""
    frames = torch.nn.functional.normalize(torch.randn(8, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    found = breakdown(frames, frames.flip(0), name)
    assert found.matched.sum() == pytest.approx(16, abs=1e-4) and abs(found.rest) < 1e-4
    assert found.added.sum() == pytest.approx(found.distance, abs=1e-4)


def test_diagonal_by_hand():
    distances = drawn(2, 3, 4, 4)
    wanted = 2 * sum(distances[:, :, t, t] for t in range(4))
    torch.testing.assert_close(diagonal(distances), wanted)
    found = breakdown(torch.eye(3), torch.eye(3), "diagonal")
    assert found.matched.tolist() == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
    assert [path.tolist() for path in found.paths] == [[[0, 0], [1, 1], [2, 2]]] * 2
    with pytest.raises(ValueError, match="expected clips of one number of frames, got 4 and 5"):
        diagonal(drawn(1, 1, 4, 5))


def test_a_sum_is_the_mean_of_its_parts():
    query, support = drawn(3, 6, 8), drawn(2, 6, 8, seed=1)
    for name in ("otam+diagonal", "diagonal+tuples", "bimhm+otam+tuples"):
        parts = [match(query, support, part, smoothing=0.1) for part in matchers_in(name)]
        wanted = torch.stack(parts).mean(0)
        torch.testing.assert_close(match(query, support, name, smoothing=0.1), wanted)
        torch.testing.assert_close(match_groups(query[None], support[None], name, smoothing=0.1)[0], wanted)
    table = drawn(1, 1, 4, 4)
    found = breakdown(query[0], support[0], "otam+diagonal", 0.5)
    alone = breakdown(query[0], support[0], "otam", 0.5)
    assert found.rest == pytest.approx(alone.rest / 2, abs=1e-5) and found.paths == ()
    assert torch.autograd.gradcheck(lambda d: (otam(d) + diagonal(d) + tuples(d)) / 3, table.requires_grad_())


@pytest.mark.parametrize("name", ["otam+mean", "otam+otam", "otam+", "+", "otam+dtw", "otam + bimhm"])
def test_a_sum_of_what_there_is_not(name):
    words = r"a matcher among otam, bimhm, mean, diagonal, tuples, or a sum of others than mean, as otam\+diagonal"
    with pytest.raises(SettingsError, match=rf"expected {words}, got '.*'\. Set model\.matching"):
        match(torch.eye(2)[None], torch.eye(2)[None], name)
    with pytest.raises(SettingsError, match=rf"model\.matching: .*{words} \(got "):
        load_settings("tiny", {"model.matching": name})
