"""Episodes: seeded, complete, without leaks, and refused where the split cannot give them."""

from __future__ import annotations

import numpy as np
import pytest

from tmal_core.data.episodes import MIXED, EpisodeSampler, EpisodeType, episode_types
from tmal_core.data.sets.catalog import SPLITS
from tmal_core.errors import EpisodeError


def _sampler(catalog, name, way=5, shot=1, queries=1, seed=0):
    episode_type = next(p for p in episode_types(catalog) if p.name == name)
    return EpisodeSampler(catalog, episode_type, way, shot, queries, seed)


@pytest.fixture(params=SPLITS)
def split(request, small_data):
    return small_data.select(request.param)


def test_episode_types_are_the_families_and_a_mixed_one(split):
    found = {p.name: p for p in episode_types(split)}
    assert set(found) == {"appearance", "order", "motion", "semantic", MIXED}
    assert {name for name, p in found.items() if p.grouped} == {"order", "semantic"}
    assert "semantic" not in found[MIXED].families


@pytest.mark.parametrize("name", ["appearance", "order", "motion", "semantic", MIXED])
def test_episode_is_well_formed(split, name):
    table = split.table
    films_are_shared = name in ("order", MIXED)
    sampler = _sampler(split, name, shot=1 if films_are_shared else 2)
    for index in range(50):
        episode = sampler[index]
        assert len(set(episode.classes)) == sampler.way
        for label, class_name in enumerate(episode.classes):
            rows = np.concatenate([episode.support[label], episode.query[label]])
            assert set(table["class_name"].iloc[rows]) == {class_name}
            assert len(set(episode.support[label])) == sampler.shot
        assert set(table["role"].iloc[episode.support.ravel()]) <= {"both", "support"}
        assert set(table["role"].iloc[episode.query.ravel()]) <= {"both", "query"}
        bases = [set(table["base"].iloc[part.ravel()]) for part in (episode.support, episode.query)]
        assert not bases[0] & bases[1], "a support clip is a version of a query"


def test_order_queries_are_twins_within_a_pair(split):
    table, sampler = split.table, _sampler(split, "order")
    for index in range(30):
        episode = sampler[index]
        assert table["base"].iloc[episode.query[0]].tolist() == table["base"].iloc[episode.query[1]].tolist()
        assert table["group"].iloc[episode.query.ravel()].nunique() == 1


def test_semantic_episodes_share_their_beginning(split):
    table, sampler = split.table, _sampler(split, "semantic")
    for index in range(30):
        rows = sampler[index].support.ravel()
        assert table["group"].iloc[rows].nunique() == 1


def test_episode_depends_on_seed_and_index_alone(split):
    one, two = _sampler(split, "appearance", seed=3), _sampler(split, "appearance", seed=3)
    later = two[41]
    for _ in range(5):
        one[7]
    assert np.array_equal(one[41].query, later.query)
    assert one[41].classes == later.classes
    other = _sampler(split, "appearance", seed=4)
    assert any(other[i].classes != one[i].classes for i in range(5))


def test_every_class_and_clip_comes_up(split):
    sampler = _sampler(split, "appearance")
    seen = {row for i in range(400) for row in sampler[i].query.ravel()}
    assert seen == set(np.flatnonzero(split.table["family"] == "appearance"))


@pytest.mark.parametrize("name", ["appearance", "order", "semantic", MIXED])
def test_many_at_once_are_the_same_as_one_by_one(split, name):
    sampler = _sampler(split, name)
    _, support, query = sampler.draw(np.arange(60))
    for index in (0, 31, 59):
        assert np.array_equal(sampler[index].support, support[index])
        assert np.array_equal(sampler[index].query, query[index])


def test_every_pair_of_classes_comes_up_equally_often(split):
    sampler = _sampler(split, "appearance", way=2)
    classes, _, _ = sampler.draw(np.arange(20_000))
    pairs, counts = np.unique(classes, axis=0, return_counts=True)
    size = (split.table.query("family == 'appearance'")["class_name"]).nunique()
    assert len(pairs) == size * (size - 1)
    mean = 20_000 / len(pairs)
    assert np.abs(counts - mean).max() < 6 * np.sqrt(mean)


def test_way_larger_than_the_split(small_data):
    with pytest.raises(EpisodeError, match=r"expected a way of at most 6, got 7-way"):
        _sampler(small_data.select("val"), "appearance", way=7)


def test_more_clips_than_a_class_has(small_data):
    with pytest.raises(EpisodeError, match=r"expected 6 clips per class \(5-shot with 1 queries"):
        _sampler(small_data.select("val"), "appearance", shot=5)


def test_twins_need_clips_of_their_own(small_data):
    """Two classes that share four bases: 2-shot with 1 query wants 2 x 2 + 1 of them."""
    with pytest.raises(EpisodeError, match="expected 5 clips per class"):
        _sampler(small_data.select("val"), "order", shot=2)


def test_family_that_is_not_there(small_data):
    with pytest.raises(EpisodeError, match="got none in this split"):
        EpisodeSampler(small_data.select("val"), EpisodeType("none", ("none",), grouped=False), 5, 1, 1, 0)


@pytest.mark.parametrize("name", ["appearance", "order", MIXED])
def test_classes_that_are_left_out_are_in_no_episode(split, name):
    """Rows keep their numbers: what was encoded serves both."""
    whole = _sampler(split, name, way=2)
    gone = set(whole.classes[:2])
    episode_type = next(p for p in episode_types(split) if p.name == name)
    less = EpisodeSampler(split, episode_type, 2, 1, 1, 0, leave_out=gone)
    assert less.num_left_out == 2 and set(less.classes) <= set(whole.classes) - gone
    classes = split.table["class_name"].to_numpy(str)
    _, support, query = less.draw(np.arange(60))
    assert set(classes[support].ravel()) | set(classes[query].ravel()) <= set(less.classes)
    assert (classes[support][:, :, 0] == classes[query][:, :, 0]).all()


def test_nothing_left_out_changes_no_episode(split):
    episode_type = next(p for p in episode_types(split) if p.name == "appearance")
    one, other = (EpisodeSampler(split, episode_type, 3, 1, 1, 7, leave_out=o) for o in ((), {"a class of another"}))
    assert all((a == b).all() for a, b in zip(one.draw(np.arange(9)), other.draw(np.arange(9)), strict=True))


def test_too_few_classes_are_left(split):
    found = {p.name: p for p in episode_types(split)}
    names = _sampler(split, "appearance", way=2).classes
    words = (
        rf"expected a way of at most 2, got 3-way episodes of 'appearance' \({len(names) - 2} classes are left out\)"
    )
    with pytest.raises(EpisodeError, match=words):
        EpisodeSampler(split, found["appearance"], 3, 1, 1, 0, names[2:])
    words = rf"classes of appearance, got none in this split \({len(names)} classes are left out\)"
    with pytest.raises(EpisodeError, match=words):
        EpisodeSampler(split, found["appearance"], 2, 1, 1, 0, names)
    table = split.table[split.table["family"] == "order"]
    one_of_each = table.groupby("group")["class_name"].unique().str[0].tolist()
    with pytest.raises(EpisodeError, match=r"a group of two classes and more, got none of 'order' \(\d+ classes are"):
        EpisodeSampler(split, found["order"], 2, 1, 1, 0, one_of_each)
